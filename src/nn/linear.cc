// SPDX-License-Identifier: Apache-2.0
#include "nn/linear.h"

#include <algorithm>

#include "base/error.h"
#include "nn/ranks.h"
#include "ops/elementwise.h"

namespace quern {
namespace {

// The product over an empty K: zero, or the bias.
Tensor constant_rows(Ctx& ctx, int64_t count, int64_t width, const Tensor& bias) {
  Tensor y = ctx.empty({count, width});
  if (ctx.device.is_meta()) return y;
  const auto out = y.span<float>();
  if (!bias.defined()) {
    std::ranges::fill(out, 0.0f);
    return y;
  }
  for (int64_t t = 0; t < count; ++t)
    std::ranges::copy(bias.span<float>(), out.begin() + t * width);
  return y;
}

}  // namespace

Linear::Linear(std::unique_ptr<ops::PackedWeight> weight, Tensor bias, int64_t rows, int64_t cols)
    : weight_(std::move(weight)), bias_(std::move(bias)), rows_(rows), cols_(cols) {
  QUERN_CHECK((weight_ != nullptr) == (rows > 0 && cols > 0));
  QUERN_CHECK(!weight_ || weight_->rows() == rows, "[{}, {}]", rows, cols);
}

Linear& Linear::gather_inputs(std::vector<int32_t> columns) {
  gather_ = std::move(columns);
  return *this;
}

Linear& Linear::observed_by(LinearObserver& observer, std::string path) {
  observer_ = &observer;
  path_ = std::move(path);
  return *this;
}

Linear& Linear::sum_over(const Shard& shard) {
  split_ = Split::sum;
  shard_ = shard;
  return *this;
}

Tensor Linear::operator()(Ctx& ctx, const Tensor& x) const {
  QUERN_CHECK(
      x.rank() == 2 && x.dim(1) == cols_, "x {}, weight [{}, {}]", x.shape().text(), rows_, cols_);
  if (observer_ != nullptr) observer_->saw(path_, x);
  Tensor y = product(ctx, x);
  if (split_ == Split::sum) all_reduce_(ctx, y, shard_);
  return y;
}

Tensor Linear::silu_mul(Ctx& ctx, const Tensor& x) const {
  if (!weight_ || bias_.defined() || !gather_.empty() || split_ != Split::none)
    return ops::silu_mul(ctx, (*this)(ctx, x));
  if (observer_ != nullptr) observer_->saw(path_, x);
  return ops::matmul_silu_mul(ctx, x, *weight_);
}

Tensor Linear::product(Ctx& ctx, const Tensor& x) const {
  if (!weight_) return constant_rows(ctx, x.dim(0), rows_, bias_);
  if (gather_.empty()) return ops::matmul(ctx, x, *weight_, bias_);
  return ops::matmul(ctx, ops::gather_columns(ctx, x, gather_), *weight_, bias_);
}

}  // namespace quern
