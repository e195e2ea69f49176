// SPDX-License-Identifier: Apache-2.0
#include "ops/unfold.h"

#include "ops/dispatch.h"

namespace quern::ops {

Tensor unfold(Ctx& ctx, const Tensor& x, const TapLayout& layout) {
  QUERN_CHECK(
      x.rank() == 2 && is_f32(x) && (x.dim(1) <= 1 || x.stride(1) == 1), "{}", x.shape().text());
  const int64_t frames = x.dim(0), channels = x.dim(1), taps = layout.taps;
  QUERN_CHECK(
      taps >= 1 && layout.stride >= 1 && layout.padding >= 0 && frames + 2 * layout.padding >= taps,
      "{} taps, stride {}, padding {} over {} frames",
      taps,
      layout.stride,
      layout.padding,
      frames);
  Tensor y = ctx.empty({layout.outputs(frames), channels * taps});
  if (ctx.device.is_meta()) return y;
  require_cpu(ctx, "unfold", x.dtype());
  ctx.pool->parallel_for(y.dim(0), row_grain(y.dim(1)), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t frame = t * layout.stride + tap - layout.padding;
        const bool is_inside = frame >= 0 && frame < frames;
        const float* from = is_inside ? x.data<float>() + frame * x.stride(0) : nullptr;
        float* to = y.data<float>() + t * y.dim(1) + tap;
        for (int64_t c = 0; c < channels; ++c) to[c * taps] = is_inside ? from[c] : 0.0f;
      }
  });
  return y;
}

}  // namespace quern::ops
