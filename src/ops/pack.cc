// SPDX-License-Identifier: Apache-2.0
#include "ops/pack.h"

#include <algorithm>

#include "base/error.h"

namespace quern::ops {

int64_t stacked_rows(const std::vector<QuantMatrix>& parts) {
  int64_t rows = 0;
  for (const QuantMatrix& part : parts) rows += part.rows();
  return rows;
}

DType storage_of(const std::vector<QuantMatrix>& parts, Activation activation) {
  const DType first = parts[0].codes.dtype();
  const bool plain = std::ranges::all_of(
      parts, [&](const QuantMatrix& part) { return part.is_plain() && part.codes.dtype() == first; });
  if (plain && (first == DType::bf16 || first == DType::f16)) return first;
  return activation == Activation::f32 ? DType::f32 : DType::bf16;
}

DType x_dtype(Activation activation) {
  switch (activation) {
    case Activation::f32: return DType::f32;
    case Activation::bf16: return DType::bf16;
    case Activation::f16: return DType::f16;
    case Activation::int8: break;
  }
  fail(ErrorCode::unsupported, "matmul: int8 activations are not carried yet; use f32, bf16 or f16");
}

int64_t row_step(const QuantMatrix& w) {
  if (!w.scales.defined()) return 1;
  return w.block_rows <= 0 ? std::max<int64_t>(w.rows(), 1) : w.block_rows;
}

QuantMatrix slice_rows(const QuantMatrix& w, int64_t begin, int64_t end) {
  const int64_t step = row_step(w);
  QUERN_CHECK(begin % step == 0, "row {} within a block of {}", begin, step);
  QuantMatrix out = w;
  out.codes = w.codes.slice(0, begin, end);
  out.block_rows = step;
  for (Tensor* grid : {&out.scales, &out.super_scales, &out.zeros, &out.minimums, &out.super_minimums})
    if (grid->defined()) *grid = grid->slice(0, begin / step, (end + step - 1) / step);
  return out;
}

}  // namespace quern::ops
