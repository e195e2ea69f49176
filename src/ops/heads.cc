// SPDX-License-Identifier: Apache-2.0
#include "ops/heads.h"

#include <algorithm>

#include "ops/dispatch.h"

namespace quern::ops {
namespace {

bool is_head_slices(const Tensor& t) {
  return t.rank() == 3 && is_f32(t) && (t.dim(2) <= 1 || t.stride(2) == 1);
}

}  // namespace

void copy_heads_(Ctx& ctx, Tensor& y, const Tensor& x) {
  QUERN_CHECK(is_head_slices(x) && is_head_slices(y) && x.shape() == y.shape(),
              "{} = {}",
              y.shape().text(),
              x.shape().text());
  if (ctx.device.is_meta()) return;
  require_cpu(ctx, "copy_heads_", x.dtype());
  const int64_t heads = x.dim(1), size = x.dim(2);
  ctx.pool->parallel_for(x.dim(0), row_grain(heads * size), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t h = 0; h < heads; ++h)
        std::copy_n(x.data<float>() + t * x.stride(0) + h * x.stride(1),
                    size,
                    y.data<float>() + t * y.stride(0) + h * y.stride(1));
  });
}

void matmul_heads_(Ctx& ctx,
                   const Tensor& x,
                   std::span<const std::unique_ptr<PackedWeight>> weights,
                   Tensor& y) {
  QUERN_CHECK(is_head_slices(x) && is_head_slices(y) && x.dim(0) == y.dim(0) &&
                  x.dim(1) == static_cast<int64_t>(weights.size()) && y.dim(1) == x.dim(1),
              "{} heads of {} from {}",
              weights.size(),
              y.shape().text(),
              x.shape().text());
  for (const auto& w : weights)
    QUERN_CHECK(w->rows() == y.dim(2) && w->cols() == x.dim(2) && w->device() == ctx.device,
                "a head of [{}, {}]: {} from {}",
                w->rows(),
                w->cols(),
                y.shape().text(),
                x.shape().text());
  if (ctx.device.is_meta()) return;
  require_cpu(ctx, "matmul_heads_", x.dtype());
  if (y.numel() == 0) return;
  ctx.pool->parallel_for(x.dim(1), 1, [&](int64_t begin, int64_t end, int) {
    ThreadPool alone(1);
    Arena scratch(Device::cpu());
    Ctx own = ctx;
    own.pool = &alone;
    own.arena = &scratch;
    for (int64_t h = begin; h < end; ++h)
      weights[static_cast<size_t>(h)]->multiply(own, x.select(1, h), {}, y.select(1, h));
  });
}

}  // namespace quern::ops
