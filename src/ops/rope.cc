// SPDX-License-Identifier: Apache-2.0
#include "ops/rope.h"

#include "ops/dispatch.h"
#include "ops/row_kernels.h"

namespace quern::ops {

void rope_(Ctx& ctx, Tensor& x, const Tensor& cos, const Tensor& sin, RopeStyle style) {
  QUERN_CHECK(x.rank() == 3 && is_f32(x) && (x.dim(2) <= 1 || x.stride(2) == 1) &&
                  (x.dim(1) <= 1 || x.stride(1) == x.dim(2)),
              "x {}",
              x.shape().text());
  const bool has_two = style == RopeStyle::two_angles;
  QUERN_CHECK(
      cos.rank() == 2 && cos.dim(0) == x.dim(0) && cos.shape() == sin.shape() &&
          (has_two ? cos.dim(1) % 2 == 0 && cos.dim(1) <= x.dim(2) : 2 * cos.dim(1) <= x.dim(2)),
      "x {}, cos {}, sin {}",
      x.shape().text(),
      cos.shape().text(),
      sin.shape().text());
  QUERN_CHECK(is_f32(cos) && is_f32(sin) && cos.is_contiguous() && sin.is_contiguous());
  if (ctx.device.is_meta()) return;
  require_cpu(ctx, "rope_", x.dtype());
  const RowKernels& kernels = row_kernels(ctx.isa);
  const auto rotate = has_two                          ? kernels.rope_two_angles
                      : style == RopeStyle::half_split ? kernels.rope_half_split
                                                       : kernels.rope_interleaved;
  const int64_t heads = x.dim(1), angles = cos.dim(1), pairs = has_two ? angles / 2 : angles;
  ctx.pool->parallel_for(
      x.dim(0), row_grain(heads * x.dim(2)), [&](int64_t begin, int64_t end, int) {
        for (int64_t t = begin; t < end; ++t)
          for (int64_t h = 0; h < heads; ++h)
            rotate(x.data<float>() + t * x.stride(0) + h * x.dim(2),
                   cos.data<float>() + t * angles,
                   sin.data<float>() + t * angles,
                   pairs);
      });
}

}  // namespace quern::ops
