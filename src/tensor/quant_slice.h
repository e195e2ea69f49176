// SPDX-License-Identifier: Apache-2.0
// Parts of a QuantMatrix, cut wherever a rank's part ends. The values stay exactly the same: where
// a cut goes through a block, its scale and zero point are held on both sides. On meta: shapes
// only.
#pragma once

#include <span>
#include <vector>

#include "tensor/quant_matrix.h"
#include "tensor/shard.h"

namespace quern {

// Rows x columns, both counted as stored. Blocks that a cut goes through become smaller ones.
// Throws QUERN_CHECK's failure for columns of a matrix with a column order: their inputs lie
// scattered.
QuantMatrix slice(const QuantMatrix& w, Range rows, Range cols);

// The rows of `ranges`, one behind the other.
QuantMatrix take_rows(const QuantMatrix& w, std::span<const Range> ranges);

struct TakenInputs {
  QuantMatrix weight;
  // Column c of the weight reads input gather[c] of the taken ones, or zero where that is -1.
  // Empty: the weight says itself what it reads.
  std::vector<int32_t> gather;
};

// The columns that hold the inputs of `ranges` (ascending, disjoint), these renumbered from 0.
// Where they are whole blocks the blocks stay; else the inputs of each block are padded to a
// multiple of kGatherBlock columns and `gather` says what to feed them.
TakenInputs take_inputs(const QuantMatrix& w, std::span<const Range> ranges);

constexpr int64_t kGatherBlock = 16;

}  // namespace quern
