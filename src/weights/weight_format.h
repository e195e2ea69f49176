// SPDX-License-Identifier: Apache-2.0
// WeightFormat: recognises its tensors under a prefix and reads any granule-aligned range into a
// QuantMatrix.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/quant_matrix.h"
#include "tensor/shard.h"
#include "weights/checkpoint.h"

namespace quern {

// Where a stored matrix can be read in parts. Where columns hold their inputs in column_order(),
// they are read all together; `sorted_cols` then says where blocks begin along that order.
struct Granule {
  int64_t rows = 1, cols = 1;
  int64_t sorted_cols = 0;  // 0: columns lie in the order of their inputs

  // Columns of one block, in whichever order they lie.
  int64_t block_cols() const { return sorted_cols > 0 ? sorted_cols : cols; }
};

class WeightFormat {
 public:
  virtual ~WeightFormat() = default;
  virtual std::string_view name() const = 0;
  // Whether the linear layer `prefix` ("model.layers.0.mlp.down_proj") is stored in this format.
  virtual bool accepts(const Checkpoint& checkpoint, std::string_view prefix) const = 0;
  // [N, K] of the whole matrix, and where it may be cut on each axis.
  virtual Shape shape(const Checkpoint& checkpoint, std::string_view prefix) const = 0;
  virtual Granule granule(const Checkpoint& checkpoint, std::string_view prefix) const = 0;
  // The input that each column holds (QuantMatrix::column_order); empty where they lie in order, or
  // where the order cannot be read because the weights are absent.
  virtual std::vector<int32_t> column_order(const Checkpoint&, std::string_view) const {
    return {};
  }
  // Rows x cols of the matrix. On meta: shapes only. Throws data_loss where stored parts contradict
  // each other.
  virtual QuantMatrix read(const Checkpoint& checkpoint,
                           std::string_view prefix,
                           Range rows,
                           Range cols,
                           Device device) const = 0;
};

// All formats, in the order they are tried.
std::span<const WeightFormat* const> weight_formats();
// The first that accepts `prefix`; throws unsupported naming the tensors found under it.
const WeightFormat& format_of(const Checkpoint& checkpoint, std::string_view prefix);
// The whole matrix by its format, on the CPU.
QuantMatrix read_matrix(const Checkpoint& checkpoint, std::string_view prefix);

}  // namespace quern
