// SPDX-License-Identifier: Apache-2.0
// Scheduler: (waiting, running, free blocks, budgets) → which tokens of which sequences run in the
// next step. Pure bookkeeping: it touches no tensor, no clock, no thread.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "cache/block_pool.h"
#include "cache/prefix_cache.h"
#include "engine/engine.h"
#include "engine/media_ledger.h"
#include "engine/sequence.h"

namespace quern {

// Tokens [begin, begin + count) of one sequence. `samples`: they end with its last token, whose
// logits choose the next one, and `drafts` guesses of what comes behind it.
struct Slice {
  Sequence* sequence = nullptr;
  int64_t begin = 0;
  int64_t count = 0;
  bool samples = false;
  int64_t rows = 0;    // the last of them whose logits are wanted
  int64_t drafts = 0;  // the last of them, which the sequence does not have yet
  int64_t end() const { return begin + count; }
};

struct Schedule {
  std::vector<Slice> slices;
  std::vector<EncodeTask> encode;
  std::vector<Hash128> release;
  bool is_empty() const { return slices.empty() && encode.empty() && release.empty(); }
};

StepShape shape_of(const Schedule& schedule);

// One step: first the sequences that need one token (decode), then the unfinished prefills in
// order, then new ones, each by priority and arrival. A sequence that finds no block sets back
// another one: a paused one first, else the last in order, which may be itself; that one is
// computed anew later.
class Scheduler {
 public:
  explicit Scheduler(const EngineConfig& config);

  BlockPool& pool() { return pool_; }
  const BlockPool& pool() const { return pool_; }
  size_t waiting() const { return waiting_.size(); }
  size_t running() const { return running_.size(); }
  int64_t preemptions() const { return preemptions_; }
  const MediaLedger& media() const { return media_; }

  void add(Sequence& s);     // to the waiting
  void remove(Sequence& s);  // it is finished: its blocks and media are free
  Schedule next();
  // The step has been carried out: its tokens have K and V, full blocks can be found by others.
  void complete(const Schedule& schedule);
  // After that: the sequence has got its next draft token from the sampler too.
  void accept_draft(Sequence& s);
  // The step failed on healthy workers. Its sequences are expected to be removed.
  void fail_step(const Schedule& schedule);
  // The workers are lost, and all K and V with them: everything running waits again.
  void reset();

 private:
  bool run(Sequence& s);
  int64_t chunk_of(const Sequence& s) const;
  void add_draft(Slice& slice);
  int64_t spare_tokens() const;
  bool make_room(Sequence& s, int64_t tokens);
  void set_back(Sequence& s);
  void unplan(const Sequence& s);
  void admit_waiting();
  bool admit(Sequence& s);
  bool make_room_by_paused();
  std::vector<int32_t> known_blocks(Sequence& s) const;
  bool fits(const Sequence& s, const std::vector<int32_t>& known) const;
  void start(Sequence& s, const std::vector<int32_t>& known);
  void publish(Sequence& s);
  bool waits_for_leader(const Sequence& s) const;

  const EngineConfig& config_;
  BlockPool pool_;
  PrefixCache prefixes_;
  MediaLedger media_;
  std::set<Sequence*, RunsBefore> waiting_, running_;
  Schedule schedule_;
  int64_t tokens_left_ = 0, rows_left_ = 0;
  int64_t spare_ = 0;  // tokens that drafts may take of this step
  int64_t preemptions_ = 0;
};

}  // namespace quern
