// SPDX-License-Identifier: Apache-2.0
#include "ops/unfold.h"

#include <algorithm>

#include "ops/dispatch.h"

namespace quern::ops {
namespace {

void check(const TapLayout& layout, int64_t frames) {
  QUERN_CHECK(layout.taps >= 1 && layout.stride >= 1 && layout.padding >= 0 &&
                  layout.dilation >= 1 &&
                  frames + 2 * layout.padding > layout.dilation * (layout.taps - 1),
              "{} taps {} apart, stride {}, padding {} over {} frames",
              layout.taps,
              layout.dilation,
              layout.stride,
              layout.padding,
              frames);
}

// The values under the taps of one output: frames and bands outside are zero.
void gather_plane(
    const Tensor& x, const PlaneTaps& layout, int64_t frame, int64_t band, float* to) {
  const int64_t channels = x.dim(2);
  for (int64_t i = 0; i < layout.time.taps; ++i)
    for (int64_t j = 0; j < layout.bands.taps; ++j, to += channels) {
      const int64_t t = frame + i * layout.time.dilation, f = band + j * layout.bands.dilation;
      if (t >= 0 && t < x.dim(0) && f >= 0 && f < x.dim(1))
        std::copy_n(x.data<float>() + (t * x.dim(1) + f) * channels, channels, to);
      else
        std::fill_n(to, channels, 0.0f);
    }
}

}  // namespace

Tensor unfold(Ctx& ctx, const Tensor& x, const TapLayout& layout) {
  QUERN_CHECK(
      x.rank() == 2 && is_f32(x) && (x.dim(1) <= 1 || x.stride(1) == 1), "{}", x.shape().text());
  const int64_t frames = x.dim(0), channels = x.dim(1), taps = layout.taps;
  check(layout, frames);
  Tensor y = ctx.empty({layout.outputs(frames), channels * taps});
  if (ctx.device.is_meta()) return y;
  require_cpu(ctx, "unfold", x.dtype());
  ctx.pool->parallel_for(y.dim(0), row_grain(y.dim(1)), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t frame = t * layout.stride + tap * layout.dilation - layout.padding;
        const bool is_inside = frame >= 0 && frame < frames;
        const float* from = is_inside ? x.data<float>() + frame * x.stride(0) : nullptr;
        float* to = y.data<float>() + t * y.dim(1) + tap;
        for (int64_t c = 0; c < channels; ++c) to[c * taps] = is_inside ? from[c] : 0.0f;
      }
  });
  return y;
}

Tensor unfold_plane(
    Ctx& ctx, const Tensor& x, const PlaneTaps& layout, int64_t first, int64_t end) {
  QUERN_CHECK(x.rank() == 3 && is_f32(x) && x.is_contiguous(), "{}", x.shape().text());
  check(layout.time, x.dim(0));
  check(layout.bands, x.dim(1));
  QUERN_CHECK(0 <= first && first <= end && end <= layout.time.outputs(x.dim(0)),
              "frames {} to {} of {}",
              first,
              end,
              layout.time.outputs(x.dim(0)));
  const int64_t bands = layout.bands.outputs(x.dim(1));
  Tensor y = ctx.empty({(end - first) * bands, layout.time.taps * layout.bands.taps * x.dim(2)});
  if (ctx.device.is_meta()) return y;
  require_cpu(ctx, "unfold_plane", x.dtype());
  ctx.pool->parallel_for(y.dim(0), row_grain(y.dim(1)), [&](int64_t begin, int64_t stop, int) {
    for (int64_t row = begin; row < stop; ++row)
      gather_plane(x,
                   layout,
                   (first + row / bands) * layout.time.stride - layout.time.padding,
                   row % bands * layout.bands.stride - layout.bands.padding,
                   y.data<float>() + row * y.dim(1));
  });
  return y;
}

}  // namespace quern::ops
