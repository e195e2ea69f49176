// SPDX-License-Identifier: Apache-2.0
// Batch: flat arrays of one step. No request ids, no strings.
// Letters: T tokens of this step, S sequences of this step, A rotary axes (1, or 3 for M-RoPE).
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace quern {

// Rows of an encoder that replace token embeddings: step rows [first_row, first_row + rows.dim(0)).
struct MediaRows {
  int32_t first_row = 0;
  Tensor rows;  // [n, D] float32
};

struct Batch {
  std::vector<int32_t> tokens;     // [T]
  std::vector<int32_t> positions;  // [A, T] row-major
  int axes = 1;                    // A

  std::vector<int32_t> offsets;  // [S + 1]: sequence s owns step rows offsets[s] .. offsets[s + 1]
  std::vector<int32_t>
      context_lengths;                // [S]: tokens in the cache after this step, its own included
  std::vector<int32_t> block_tables;  // [S, blocks_per_row], padded with -1
  int32_t blocks_per_row = 0;
  int32_t block_size = 16;     // tokens per block
  std::vector<int32_t> slots;  // [T]: block * block_size + offset, where each token's K and V go

  std::vector<int32_t> sample_rows;  // step rows whose logits are wanted
  std::vector<MediaRows> media;

  int64_t token_count() const { return static_cast<int64_t>(tokens.size()); }
  int64_t sequence_count() const { return static_cast<int64_t>(context_lengths.size()); }
};

}  // namespace quern
