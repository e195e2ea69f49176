// SPDX-License-Identifier: Apache-2.0
// Linear: y = x Wᵀ + b over a packed weight. Made by Builder.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ops/matmul.h"
#include "tensor/ctx.h"
#include "tensor/shard.h"

namespace quern {

// Sees the inputs of linear layers as they are run; for calibration.
class LinearObserver {
 public:
  virtual ~LinearObserver() = default;
  // x [T, cols] of the product whose first matrix is `path` ("model.layers.0.self_attn.q_proj" of
  // q, k and v). Called before the product, on the thread that runs the model.
  virtual void saw(std::string_view path, const Tensor& x) = 0;
};

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
  // Shows each input to `observer`, which must outlive this.
  Linear& observed_by(LinearObserver& observer, std::string path);

  // x [T, cols] -> [T, rows], both of this rank's part.
  Tensor operator()(Ctx& ctx, const Tensor& x) const;
  // Gate and up stacked: silu_mul of the above, [T, rows / 2].
  Tensor silu_mul(Ctx& ctx, const Tensor& x) const;

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  const ops::PackedWeight* weight() const { return weight_.get(); }

 private:
  Tensor product(Ctx& ctx, const Tensor& x) const;

  std::shared_ptr<const ops::PackedWeight> weight_;
  LinearObserver* observer_ = nullptr;
  std::string path_;  // what the observer knows it by
  Tensor bias_;
  std::vector<int32_t> gather_;  // empty: inputs as they come
  int64_t rows_ = 0, cols_ = 0;
  Split split_ = Split::none;
  Shard shard_;
};

}  // namespace quern
