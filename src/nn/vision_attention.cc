// SPDX-License-Identifier: Apache-2.0
#include "nn/vision_attention.h"

#include <cmath>

#include "base/error.h"
#include "ops/attention.h"

namespace quern {
namespace {

// This rank's heads of q, k and v, one product.
Linear stacked_qkv(const Builder& b, const VisionAttentionConfig& c, const HeadLayout& layout) {
  const Range rows = layout.q_rows();
  if (!c.is_stacked)
    return b.stack(
        {{"q_proj", c.hidden, {rows}}, {"k_proj", c.hidden, {rows}}, {"v_proj", c.hidden, {rows}}},
        c.hidden,
        c.qkv_bias);
  RowPart part{"qkv", 3 * c.hidden, {}};
  for (int64_t third = 0; third < 3; ++third)
    part.rows.push_back({third * c.hidden + rows.begin, third * c.hidden + rows.end});
  return b.stack({part}, c.hidden, c.qkv_bias);
}

}  // namespace

void check_rotated_heads(const Config& vision, int64_t heads, int64_t width) {
  if (width % heads != 0 || width / heads % 4 != 0)
    fail(ErrorCode::data_loss,
         "{}: {} heads over a width of {}: expected heads of a multiple of 4",
         vision.path(),
         heads,
         width);
}

VisionAttention::VisionAttention(const Builder& b, const VisionAttentionConfig& c)
    : layout_(b.shard(), {c.heads, c.heads, c.hidden / c.heads}),
      scale_(1.0f / std::sqrt(static_cast<float>(c.hidden / c.heads))),
      qkv_(stacked_qkv(b, c, layout_)),
      out_(b.rows(c.out_name, c.hidden, {c.hidden, {layout_.q_rows()}}, c.out_bias)) {}

Tensor VisionAttention::operator()(Ctx& ctx,
                                   const Tensor& x,
                                   const RopeTables& rope,
                                   std::span<const int32_t> segments) const {
  const int64_t h = layout_.heads();
  if (h == 0) return out_(ctx, ctx.empty({x.dim(0), 0}));
  const Tensor qkv = qkv_(ctx, x).reshape({x.dim(0), 3 * h, layout_.head_size()});
  if (rope.cos.defined()) {
    Tensor rotated = qkv.slice(1, 0, 2 * h);
    ops::rope_(ctx, rotated, rope.cos, rope.sin, ops::RopeStyle::half_split);
  }
  return out_(ctx,
              ops::segment_attention(ctx,
                                     qkv.slice(1, 0, h),
                                     qkv.slice(1, h, 2 * h),
                                     qkv.slice(1, 2 * h, 3 * h),
                                     segments,
                                     scale_));
}

}  // namespace quern
