// SPDX-License-Identifier: Apache-2.0
// SequenceRunner: a model running one sequence alone, without an engine: for `verify`, `eval` and
// tests.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nn/batch.h"
#include "nn/model.h"
#include "tensor/ctx.h"
#include "tensor/shard.h"

namespace quern {

// The prompt of one sequence: T tokens.
struct SequenceInput {
  std::span<const int32_t> ids;        // [T]
  std::span<const int32_t> positions;  // [A, T] row-major; empty: 0, 1, … T - 1
  int axes = 1;                        // A
  std::span<const MediaRows> media;    // first_row counts in `ids`
};

class SequenceRunner {
 public:
  // Room for `max_tokens` tokens in a cache of its own, in blocks of `block_size`, rows of
  // `kv_dtype`. `model` and what ctx points to must outlive it.
  SequenceRunner(const Model& model,
                 const Ctx& ctx,
                 int64_t max_tokens,
                 int block_size = 16,
                 DType kv_dtype = DType::f32);

  // Forgets the sequence.
  void clear() { length_ = 0; }
  // Tokens in the cache.
  int64_t length() const { return length_; }

  // Appends the prompt, `chunk` tokens per step (0: all at once). Returns the logits behind the
  // prompt tokens `sample_rows` (ascending), [n, V] float32, in memory of their own. `probe` sees
  // each step's rows. Throws exhausted beyond max_tokens.
  Tensor prefill(const SequenceInput& input,
                 std::span<const int32_t> sample_rows,
                 int64_t chunk = 0,
                 Probe* probe = nullptr);
  // Appends one token at `position` (the same on every axis) -> [1, V].
  Tensor decode(int32_t token, int32_t position, Probe* probe = nullptr);

 private:
  Tensor step(const SequenceInput& input,
              Range tokens,
              std::span<const int32_t> sample_rows,
              Probe* probe);
  void place(Batch& batch, int64_t count) const;

  const Model& model_;
  Ctx ctx_;
  KvCache kv_;
  int64_t max_tokens_;
  int64_t length_ = 0;
};

}  // namespace quern
