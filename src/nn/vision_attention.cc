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
  if (!c.is_stacked) {
    const HeadSizes sizes = c.sizes();
    const int64_t q = sizes.heads * sizes.head_size, kv = sizes.kv_heads * sizes.head_size;
    return b.stack({{"q_proj", q, {rows}},
                    {"k_proj", kv, layout.kv_rows(), c.key_bias},
                    {"v_proj", kv, layout.kv_rows()}},
                   c.hidden,
                   c.qkv_bias);
  }
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
    : layout_(b.shard(), c.sizes()),
      rope_style_(c.rope_style),
      scale_(1.0f / std::sqrt(static_cast<float>(layout_.head_size()))),
      qkv_(stacked_qkv(b, c, layout_)),
      out_(b.rows(
          c.out_name, c.hidden, {c.heads * layout_.head_size(), {layout_.q_rows()}}, c.out_bias)) {}

Tensor VisionAttention::operator()(Ctx& ctx,
                                   const Tensor& x,
                                   const RopeTables& rope,
                                   std::span<const int32_t> segments) const {
  const int64_t h = layout_.heads(), g = layout_.kv_heads();
  if (h == 0) return out_(ctx, ctx.empty({x.dim(0), 0}));
  const Tensor qkv = qkv_(ctx, x).reshape({x.dim(0), h + 2 * g, layout_.head_size()});
  if (rope.cos.defined()) {
    Tensor rotated = qkv.slice(1, 0, h + g);
    ops::rope_(ctx, rotated, rope.cos, rope.sin, rope_style_);
  }
  return out_(ctx,
              ops::segment_attention(ctx,
                                     qkv.slice(1, 0, h),
                                     qkv.slice(1, h, h + g),
                                     qkv.slice(1, h + g, h + 2 * g),
                                     segments,
                                     scale_));
}

}  // namespace quern
