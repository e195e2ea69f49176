// SPDX-License-Identifier: Apache-2.0
#include "ops/convolution.h"

#include <algorithm>

#include "ops/dispatch.h"

namespace quern::ops {
namespace {

using PackedGroups = std::vector<std::unique_ptr<PackedWeight>>;

void check_frames(const Tensor& x) {
  QUERN_CHECK(
      x.rank() == 2 && is_f32(x) && (x.dim(1) <= 1 || x.stride(1) == 1), "{}", x.shape().text());
}

void check_bias(const Tensor& bias, int64_t size) {
  QUERN_CHECK(
      !bias.defined() || (bias.shape() == Shape{size} && is_f32(bias) && bias.is_contiguous()),
      "bias {} for {} channels",
      bias.shape().text(),
      size);
}

std::unique_ptr<PackedWeight> pack_floats(const Ctx& ctx, Tensor rows) {
  QuantMatrix matrix;
  matrix.codes = std::move(rows);
  matrix.code_bits = 32;
  std::vector<QuantMatrix> parts;
  parts.push_back(std::move(matrix));
  return pack_weight(ctx, std::move(parts));
}

// Padded frames, sorted by run and by group: element c of group g of padded frame u stands at
// [g][u % runs][u / runs][c].
struct SortedFrames {
  int64_t groups, runs, length, channels;  // length: of a run; channels: of a group

  // One run's frames of one group, [length, channels].
  Tensor run(const Tensor& values, int64_t group, int64_t run) const {
    return values.select(0, group * runs + run);
  }
};

Tensor sort_frames(Ctx& ctx, const Tensor& x, const SortedFrames& to, int64_t padding) {
  Tensor y = ctx.empty({to.groups * to.runs, to.length, to.channels});
  if (ctx.device.is_meta()) return y;
  const int64_t padded = to.runs * to.length, width = to.groups * to.channels;
  ctx.pool->parallel_for(padded, row_grain(width), [&](int64_t begin, int64_t end, int) {
    for (int64_t u = begin; u < end; ++u) {
      const int64_t frame = u - padding;
      const bool is_inside = frame >= 0 && frame < x.dim(0);
      const float* from = is_inside ? x.data<float>() + frame * x.stride(0) : nullptr;
      for (int64_t g = 0; g < to.groups; ++g) {
        float* out =
            y.data<float>() + ((g * to.runs + u % to.runs) * to.length + u / to.runs) * to.channels;
        if (is_inside)
          std::copy_n(from + g * to.channels, to.channels, out);
        else
          std::fill_n(out, to.channels, 0.0f);
      }
    }
  });
  return y;
}

// x as it lies, where no frame is missing or out of order; else sorted.
Tensor frames_of(Ctx& ctx, const Tensor& x, const SortedFrames& sorted, int64_t padding) {
  const bool is_plain = sorted.groups == 1 && sorted.runs == 1 && padding == 0 && x.is_contiguous();
  if (is_plain) return x.reshape({1, x.dim(0), x.dim(1)});
  return sort_frames(ctx, x, sorted, padding);
}

}  // namespace

PackedGroups pack_convolution(const Ctx& ctx, const Tensor& weight, int64_t groups) {
  QUERN_CHECK(weight.rank() == 3 && is_f32(weight) && weight.is_contiguous() && groups >= 1 &&
                  weight.dim(0) % groups == 0,
              "{} in {} groups",
              weight.shape().text(),
              groups);
  const int64_t rows = weight.dim(0) / groups, channels = weight.dim(1), taps = weight.dim(2);
  PackedGroups out;
  for (int64_t g = 0; g < groups; ++g) {
    Tensor turned = Tensor::empty({rows, taps * channels}, DType::f32, weight.device());
    if (turned.raw() != nullptr)
      for (int64_t n = 0; n < rows; ++n)
        for (int64_t c = 0; c < channels; ++c)
          for (int64_t i = 0; i < taps; ++i)
            turned.data<float>()[(n * taps + i) * channels + c] =
                weight.data<float>()[((g * rows + n) * channels + c) * taps + i];
    out.push_back(pack_floats(ctx, std::move(turned)));
  }
  return out;
}

Tensor convolve(Ctx& ctx,
                const Tensor& x,
                const PackedGroups& groups,
                const Tensor& bias,
                const ConvolutionTaps& taps) {
  check_frames(x);
  const auto count = static_cast<int64_t>(groups.size());
  QUERN_CHECK(count >= 1 && taps.count >= 1 && taps.stride >= 1 && taps.dilation >= 1 &&
                  taps.padding >= 0 && (taps.stride == 1 || taps.dilation == 1) &&
                  x.dim(1) * taps.count == groups[0]->cols() * count,
              "x {}, {} groups of {} inputs, {} taps, stride {}, dilation {}",
              x.shape().text(),
              count,
              groups.empty() ? 0 : groups[0]->cols(),
              taps.count,
              taps.stride,
              taps.dilation);
  const int64_t rows = groups[0]->rows(), runs = taps.dilation, outputs = taps.outputs(x.dim(0));
  check_bias(bias, rows * count);
  const SortedFrames sorted{
      count, runs, (x.dim(0) + 2 * taps.padding + runs - 1) / runs, x.dim(1) / count};
  // Outputs of a run are `runs` apart: room for whole rounds of them.
  const int64_t rounds = (outputs + runs - 1) / runs;
  const Tensor y = ctx.empty({rounds, runs, count * rows});
  if (outputs == 0) return y.reshape({0, count * rows});
  if (!ctx.device.is_meta()) require_cpu(ctx, "convolve", x.dtype());
  const Tensor frames = frames_of(ctx, x, sorted, taps.padding);
  for (int64_t g = 0; g < count; ++g)
    for (int64_t r = 0; r < std::min(runs, outputs); ++r) {
      const int64_t own = (outputs - r + runs - 1) / runs;
      const Tensor windows =
          sorted.run(frames, g, r)
              .windows(own, taps.count * sorted.channels, taps.stride * sorted.channels);
      groups[static_cast<size_t>(g)]->multiply(
          ctx,
          windows,
          bias.defined() ? bias.slice(0, g * rows, (g + 1) * rows) : bias,
          y.select(1, r).slice(0, 0, own).slice(1, g * rows, (g + 1) * rows));
    }
  return y.reshape({rounds * runs, count * rows}).slice(0, 0, outputs);
}

Tensor convolve_channels(
    Ctx& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t padding) {
  check_frames(x);
  QUERN_CHECK(weight.rank() == 2 && is_f32(weight) && weight.is_contiguous() &&
                  weight.dim(1) == x.dim(1) && bias.defined() && padding >= 0,
              "x {}, weight {}",
              x.shape().text(),
              weight.shape().text());
  check_bias(bias, x.dim(1));
  const ConvolutionTaps taps{.count = weight.dim(0), .padding = padding};
  const int64_t size = x.dim(1);
  Tensor y = ctx.empty({taps.outputs(x.dim(0)), size});
  if (ctx.device.is_meta()) return y;
  require_cpu(ctx, "convolve_channels", x.dtype());
  ctx.pool->parallel_for(y.dim(0), row_grain(size), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      float* out = y.data<float>() + t * size;
      std::copy_n(bias.data<float>(), size, out);
      for (int64_t i = 0; i < taps.count; ++i) {
        const int64_t frame = t + i - padding;
        if (frame < 0 || frame >= x.dim(0)) continue;
        const float* from = x.data<float>() + frame * x.stride(0);
        const float* by = weight.data<float>() + i * size;
        for (int64_t c = 0; c < size; ++c) out[c] += by[c] * from[c];
      }
    }
  });
  return y;
}

std::unique_ptr<PackedWeight> pack_transposed_convolution(const Ctx& ctx, const Tensor& weight) {
  QUERN_CHECK(
      weight.rank() == 3 && is_f32(weight) && weight.is_contiguous(), "{}", weight.shape().text());
  const int64_t channels = weight.dim(0), rows = weight.dim(1), taps = weight.dim(2);
  Tensor turned = Tensor::empty({taps * rows, channels}, DType::f32, weight.device());
  if (turned.raw() != nullptr)
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t n = 0; n < rows; ++n)
        for (int64_t i = 0; i < taps; ++i)
          turned.data<float>()[(i * rows + n) * channels + c] =
              weight.data<float>()[(c * rows + n) * taps + i];
  return pack_floats(ctx, std::move(turned));
}

Tensor convolve_transposed(Ctx& ctx,
                           const Tensor& x,
                           const PackedWeight& weight,
                           const Tensor& bias,
                           const ConvolutionTaps& taps) {
  check_frames(x);
  QUERN_CHECK(taps.count >= 1 && taps.stride >= 1 && taps.padding >= 0 && taps.dilation == 1 &&
                  weight.rows() % taps.count == 0 && bias.defined(),
              "{} taps of {} rows, stride {}",
              taps.count,
              weight.rows(),
              taps.stride);
  const int64_t rows = weight.rows() / taps.count, frames = x.dim(0);
  check_bias(bias, rows);
  const int64_t outputs =
      frames == 0
          ? 0
          : std::max<int64_t>(0, (frames - 1) * taps.stride + taps.count - 2 * taps.padding);
  const Tensor parts = matmul(ctx, x, weight);
  Tensor y = ctx.empty({outputs, rows});
  if (ctx.device.is_meta()) return y;
  ctx.pool->parallel_for(outputs, row_grain(rows), [&](int64_t begin, int64_t end, int) {
    for (int64_t s = begin; s < end; ++s) {
      float* out = y.data<float>() + s * rows;
      std::copy_n(bias.data<float>(), rows, out);
      // Frames t with 0 <= s + padding - t * stride < taps.
      const int64_t at = s + taps.padding, last = std::min(frames - 1, at / taps.stride);
      const int64_t before = at - taps.count + 1;
      for (int64_t t = before <= 0 ? 0 : (before + taps.stride - 1) / taps.stride; t <= last; ++t) {
        const float* from = parts.data<float>() + (t * taps.count + at - t * taps.stride) * rows;
        for (int64_t n = 0; n < rows; ++n) out[n] += from[n];
      }
    }
  });
  return y;
}

}  // namespace quern::ops
