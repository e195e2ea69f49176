// SPDX-License-Identifier: Apache-2.0
// Sequence: one continuation, mutable, owned by the engine thread. Group: all continuations of one
// request.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "cache/block_table.h"
#include "cache/prefix_cache.h"
#include "engine/pooled_rows.h"
#include "engine/request.h"
#include "sampling/sampler.h"

namespace quern {

struct Group;

enum class SequenceState : uint8_t { waiting, running, finished };

struct Sequence {
  Sequence(Group& group, int choice, BlockPool& pool, int block_size, const LogitHook& hook);

  int64_t length() const { return static_cast<int64_t>(tokens.size()); }
  int64_t remaining() const {
    return length() - computed;
  }  // tokens without K and V yet; at least the last one
  int64_t output_length() const;
  // Rows of its prompt are wanted that nobody has seen yet: logits, of which row i scores token
  // i + 1, or what is pooled.
  bool is_scoring() const { return scored < rows_to_score(); }
  int64_t rows_to_score() const;
  const Prompt& prompt() const;
  int32_t position(int axis, int64_t index) const;
  // The prefix-cache key of full block `index`; extends the chain as far as needed.
  const Hash128& block_key(size_t index);

  Group& group;
  const int choice;
  SequenceState state = SequenceState::waiting;
  bool is_paused = false;       // its consumer is too far behind
  bool was_set_back = false;    // waits again after running
  bool was_admitted = false;    // has run at least once
  std::vector<int32_t> tokens;  // prompt, then output
  int64_t computed = 0;         // of them, with K and V in `blocks`
  int64_t scored = 0;           // leading rows of the prompt that have been taken
  // Guesses of what follows `tokens`; drafts that missed in a row, and steps without one because of
  // that.
  std::vector<int32_t> draft;
  int draft_misses = 0, draft_rest = 0;
  BlockTable blocks;
  size_t published = 0;       // leading blocks that the prefix cache knows
  size_t media_passed = 0;    // leading media spans that are computed
  bool holds_media = false;   // keeps the encoded rows of the spans behind media_passed alive
  int32_t cached_tokens = 0;  // of the prompt, found in the prefix cache at first admission
  Sampler sampler;

 private:
  BlockContent content(size_t index,
                       std::vector<int32_t>& positions,
                       std::vector<BlockMedia>& media) const;

  int block_size_;
  std::vector<Hash128> keys_;
};

struct Group {
  Request request;
  std::shared_ptr<EventStream> stream;
  uint64_t arrival = 0;          // rises with every request
  Hash128 root;                  // the prefix-cache key before the first block
  bool shares_blocks = false;    // full blocks are looked up and published
  bool is_prompt_ready = false;  // the full blocks of the prompt have been computed once, and it is
                                 // scored if that was asked for
  std::vector<PromptLogprob> scores;  // by prompt row, until they are handed over
  bool has_sent_scores = false;
  std::optional<PoolingType> pooling;  // EngineConfig::pooling
  PooledRows pooled;
  int unfinished = 0;
  std::vector<std::unique_ptr<Sequence>> sequences;
};

// Who runs first: lower priority number, earlier arrival, lower choice.
struct RunsBefore {
  bool operator()(const Sequence* a, const Sequence* b) const {
    return std::tuple(a->group.request.priority, a->group.arrival, a->choice) <
           std::tuple(b->group.request.priority, b->group.arrival, b->choice);
  }
};

}  // namespace quern
