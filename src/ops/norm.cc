// SPDX-License-Identifier: Apache-2.0
#include "ops/norm.h"

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

}  // namespace quern::ops
