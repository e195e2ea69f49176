// SPDX-License-Identifier: Apache-2.0
#include "nn/vision_attention.h"

#include <cmath>

#include "ops/attention.h"

namespace quern {
namespace {

// This rank's heads of q, k and v, which lie stacked in one matrix.
Linear stacked_qkv(const Builder& b, int64_t hidden, const HeadLayout& layout) {
  RowPart part{"qkv", 3 * hidden, {}};
  for (int64_t third = 0; third < 3; ++third) {
    const Range rows = layout.q_rows();
    part.rows.push_back({third * hidden + rows.begin, third * hidden + rows.end});
  }
  return b.stack({part}, hidden, Bias::present);
}

}  // namespace

VisionAttention::VisionAttention(const Builder& b, int64_t hidden, int64_t heads)
    : layout_(b.shard(), {heads, heads, hidden / heads}),
      scale_(1.0f / std::sqrt(static_cast<float>(hidden / heads))),
      qkv_(stacked_qkv(b, hidden, layout_)),
      out_(b.rows("proj", hidden, {hidden, {layout_.q_rows()}}, Bias::present)) {}

Tensor VisionAttention::operator()(Ctx& ctx,
                                   const Tensor& x,
                                   const RopeTables& rope,
                                   std::span<const int32_t> segments) const {
  const int64_t h = layout_.heads();
  if (h == 0) return out_(ctx, ctx.empty({x.dim(0), 0}));
  const Tensor qkv = qkv_(ctx, x).reshape({x.dim(0), 3 * h, layout_.head_size()});
  Tensor rotated = qkv.slice(1, 0, 2 * h);
  ops::rope_(ctx, rotated, rope.cos, rope.sin, ops::RopeStyle::half_split);
  return out_(ctx,
              ops::segment_attention(ctx,
                                     qkv.slice(1, 0, h),
                                     qkv.slice(1, h, 2 * h),
                                     qkv.slice(1, 2 * h, 3 * h),
                                     segments,
                                     scale_));
}

}  // namespace quern
