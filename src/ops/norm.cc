// SPDX-License-Identifier: Apache-2.0
#include "ops/norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/dispatch.h"
#include "ops/row_kernels.h"

namespace quern::ops {
namespace {

using RowNorm = void (*)(const float* x, const NormRow& norm, float* y);

void check(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  QUERN_CHECK(
      x.rank() == 2 && is_f32(x) && (x.dim(1) <= 1 || x.stride(1) == 1), "x {}", x.shape().text());
  QUERN_CHECK(
      weight.rank() == 1 && weight.dim(0) == x.dim(1) && is_f32(weight) && weight.is_contiguous(),
      "x {}, weight {}",
      x.shape().text(),
      weight.shape().text());
  QUERN_CHECK(!bias.defined() ||
              (bias.shape() == weight.shape() && is_f32(bias) && bias.is_contiguous()));
}

void run(Ctx& ctx, const Tensor& x, const NormRow& norm, const Tensor& y, RowNorm kernel) {
  ctx.pool->parallel_for(x.dim(0), row_grain(norm.size), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t)
      kernel(x.data<float>() + t * x.stride(0), norm, y.data<float>() + t * norm.size);
  });
}

// The segment that each row lies in, for rows in ascending order.
class SegmentOf {
 public:
  SegmentOf(std::span<const int32_t> segments, int64_t first_row) : segments_(segments) {
    segment_ = std::ranges::upper_bound(segments, first_row) - segments.begin() - 1;
  }
  int64_t of(int64_t row) {
    while (row >= segments_[static_cast<size_t>(segment_) + 1]) ++segment_;
    return segment_;
  }

 private:
  std::span<const int32_t> segments_;
  int64_t segment_;
};

void check_segments(std::span<const int32_t> segments, int64_t rows, const Tensor& values) {
  QUERN_CHECK(!segments.empty() && segments.front() == 0 && segments.back() == rows &&
                  std::ranges::is_sorted(segments) && values.rank() == 2 && is_f32(values) &&
                  values.dim(0) + 1 == static_cast<int64_t>(segments.size()) &&
                  (values.dim(1) <= 1 || values.stride(1) == 1),
              "{} segment bounds for {} rows, values {}",
              segments.size(),
              rows,
              values.shape().text());
}

// Norms over all rows of the columns of x, then n of response_norm_.
void response_of(Ctx& ctx, const Tensor& x, std::span<double> n, double eps) {
  constexpr int64_t kColumns = 16;
  const int64_t rows = x.dim(0), size = x.dim(1);
  std::ranges::fill(n, 0.0);
  ctx.pool->parallel_for((size + kColumns - 1) / kColumns, 1, [&](int64_t begin, int64_t end, int) {
    const int64_t first = begin * kColumns, last = std::min(size, end * kColumns);
    for (int64_t t = 0; t < rows; ++t) {
      const float* row = x.data<float>() + t * size;
      for (int64_t c = first; c < last; ++c) n[static_cast<size_t>(c)] += double{row[c]} * row[c];
    }
  });
  double mean = 0;
  for (double& value : n) mean += value = std::sqrt(value);
  mean /= static_cast<double>(size);
  for (double& value : n) value /= mean + eps;
}

}  // namespace

Tensor rms_norm(Ctx& ctx, const Tensor& x, const Tensor& weight, float eps) {
  check(x, weight, {});
  Tensor y = ctx.empty(x.shape());
  if (ctx.device.is_meta()) return y;
  require_cpu(ctx, "rms_norm", x.dtype());
  run(ctx, x, {weight.data<float>(), nullptr, eps, x.dim(1)}, y, row_kernels(ctx.isa).rms_norm);
  return y;
}

void rms_norm_heads_(Ctx& ctx, Tensor& x, const Tensor& weight, float eps) {
  QUERN_CHECK(x.rank() == 3 && is_f32(x) && (x.dim(2) <= 1 || x.stride(2) == 1) &&
                  (x.dim(1) <= 1 || x.stride(1) == x.dim(2)),
              "x {}",
              x.shape().text());
  QUERN_CHECK(
      weight.rank() == 1 && weight.dim(0) == x.dim(2) && is_f32(weight) && weight.is_contiguous(),
      "x {}, weight {}",
      x.shape().text(),
      weight.shape().text());
  if (ctx.device.is_meta()) return;
  require_cpu(ctx, "rms_norm_heads_", x.dtype());
  const RowNorm kernel = row_kernels(ctx.isa).rms_norm;
  const NormRow norm{weight.data<float>(), nullptr, eps, x.dim(2)};
  const int64_t heads = x.dim(1);
  ctx.pool->parallel_for(
      x.dim(0), row_grain(heads * norm.size), [&](int64_t begin, int64_t end, int) {
        for (int64_t t = begin; t < end; ++t)
          for (int64_t h = 0; h < heads; ++h) {
            float* row = x.data<float>() + t * x.stride(0) + h * norm.size;
            kernel(row, norm, row);
          }
      });
}

Tensor layer_norm(Ctx& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias, float eps) {
  check(x, weight, bias);
  Tensor y = ctx.empty(x.shape());
  if (ctx.device.is_meta()) return y;
  require_cpu(ctx, "layer_norm", x.dtype());
  run(ctx,
      x,
      {weight.data<float>(), bias.data<float>(), eps, x.dim(1)},
      y,
      row_kernels(ctx.isa).layer_norm);
  return y;
}

void response_norm_(Ctx& ctx, Tensor& x, const Tensor& gamma, const Tensor& beta, float eps) {
  check(x, gamma, beta);
  QUERN_CHECK(x.is_contiguous() && beta.defined(), "x {}", x.shape().text());
  if (ctx.device.is_meta() || x.numel() == 0) return;
  require_cpu(ctx, "response_norm_", x.dtype());
  const int64_t size = x.dim(1);
  std::vector<double> n(static_cast<size_t>(size));
  response_of(ctx, x, n, eps);
  std::vector<float> factor(n.size());
  for (size_t c = 0; c < n.size(); ++c)
    factor[c] = static_cast<float>(gamma.data<float>()[c] * n[c] + 1);
  ctx.pool->parallel_for(x.dim(0), row_grain(size), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      float* row = x.data<float>() + t * size;
      for (int64_t c = 0; c < size; ++c)
        row[c] = row[c] * factor[static_cast<size_t>(c)] + beta.data<float>()[c];
    }
  });
}

Tensor modulated_norm(Ctx& ctx, const Tensor& x, const RowModulation& modulation, float eps) {
  const auto& [shift, scale, segments] = modulation;
  check_segments(segments, x.dim(0), shift);
  check_segments(segments, x.dim(0), scale);
  QUERN_CHECK(x.rank() == 2 && is_f32(x) && x.dim(1) == scale.dim(1) && x.dim(1) == shift.dim(1) &&
                  (x.dim(1) <= 1 || x.stride(1) == 1),
              "x {}, scale {}",
              x.shape().text(),
              scale.shape().text());
  const int64_t size = x.dim(1);
  Tensor y = ctx.empty(x.shape()), weight = ctx.empty(scale.shape());
  if (ctx.device.is_meta()) return y;
  require_cpu(ctx, "modulated_norm", x.dtype());
  for (int64_t s = 0; s < weight.dim(0); ++s)
    std::transform(scale.data<float>() + s * scale.stride(0),
                   scale.data<float>() + s * scale.stride(0) + size,
                   weight.data<float>() + s * size,
                   [](float value) { return 1 + value; });
  const RowNorm kernel = row_kernels(ctx.isa).layer_norm;
  ctx.pool->parallel_for(x.dim(0), row_grain(size), [&](int64_t begin, int64_t end, int) {
    SegmentOf segment(segments, begin);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t s = segment.of(t);
      const NormRow norm{
          weight.data<float>() + s * size, shift.data<float>() + s * shift.stride(0), eps, size};
      kernel(x.data<float>() + t * x.stride(0), norm, y.data<float>() + t * size);
    }
  });
  return y;
}

void add_gated_(
    Ctx& ctx, Tensor& x, const Tensor& y, const Tensor& gate, std::span<const int32_t> segments) {
  QUERN_CHECK(x.rank() == 2 && is_f32(x) && is_f32(y) && x.is_contiguous() && y.is_contiguous() &&
                  x.shape() == y.shape() && gate.rank() == 2 && gate.dim(1) == x.dim(1),
              "{} += {} {}",
              x.shape().text(),
              gate.shape().text(),
              y.shape().text());
  check_segments(segments, x.dim(0), gate);
  if (ctx.device.is_meta()) return;
  require_cpu(ctx, "add_gated_", x.dtype());
  const int64_t size = x.dim(1);
  ctx.pool->parallel_for(x.dim(0), row_grain(size), [&](int64_t begin, int64_t end, int) {
    SegmentOf segment(segments, begin);
    for (int64_t t = begin; t < end; ++t) {
      const float* by = gate.data<float>() + segment.of(t) * gate.stride(0);
      float* to = x.data<float>() + t * size;
      const float* from = y.data<float>() + t * size;
      for (int64_t c = 0; c < size; ++c) to[c] += by[c] * from[c];
    }
  });
}

}  // namespace quern::ops
