// SPDX-License-Identifier: Apache-2.0
// Linear: y = x Wᵀ + b over a packed weight. Made by Builder.
#pragma once

#include <memory>
#include <vector>

#include "ops/matmul.h"
#include "tensor/ctx.h"
#include "tensor/shard.h"

namespace quern {

class Linear {
 public:
  // What a rank's product still needs to be the layer's output.
  enum class Split : uint8_t {
    none,  // nothing: whole, or this rank's columns of the output
    sum,   // split along K: the sum over ranks
  };

  Linear() = default;
  // `weight` is null where this rank's part is empty (rows or cols 0).
  Linear(std::unique_ptr<ops::PackedWeight> weight, Tensor bias, int64_t rows, int64_t cols);
  Linear& sum_over(const Shard& shard);
  // Column c of the weight reads input columns[c], or zero where that is -1.
  Linear& gather_inputs(std::vector<int32_t> columns);

  // x [T, cols] -> [T, rows], both of this rank's part.
  Tensor operator()(Ctx& ctx, const Tensor& x) const;

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  const ops::PackedWeight* weight() const { return weight_.get(); }

 private:
  Tensor product(Ctx& ctx, const Tensor& x) const;

  std::shared_ptr<const ops::PackedWeight> weight_;
  Tensor bias_;
  std::vector<int32_t> gather_;  // empty: inputs as they come
  int64_t rows_ = 0, cols_ = 0;
  Split split_ = Split::none;
  Shard shard_;
};

}  // namespace quern
