// SPDX-License-Identifier: Apache-2.0
#include "nn/vision_attention.h"

#include <cmath>
#include <numeric>
#include <vector>

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

VisionAttention::Heads VisionAttention::heads(Ctx& ctx,
                                              const Tensor& x,
                                              const RopeTables& rope) const {
  const int64_t h = layout_.heads(), g = layout_.kv_heads();
  const Tensor qkv = qkv_(ctx, x).reshape({x.dim(0), h + 2 * g, layout_.head_size()});
  if (rope.cos.defined()) {
    Tensor rotated = qkv.slice(1, 0, h + g);
    ops::rope_(ctx, rotated, rope.cos, rope.sin, rope_style_);
  }
  return {qkv.slice(1, 0, h), qkv.slice(1, h, h + g), qkv.slice(1, h + g, h + 2 * g)};
}

Tensor VisionAttention::operator()(Ctx& ctx,
                                   const Tensor& x,
                                   const RopeTables& rope,
                                   std::span<const int32_t> segments) const {
  if (layout_.heads() == 0) return out_(ctx, ctx.empty({x.dim(0), 0}));
  const Heads at = heads(ctx, x, rope);
  return out_(ctx, ops::segment_attention(ctx, at.q, at.k, at.v, segments, scale_));
}

// The segments are sequences that share one cache, of a single block: each sees its beginning.
Tensor VisionAttention::operator()(Ctx& ctx,
                                   const Tensor& x,
                                   const RopeTables& rope,
                                   const PrefixSight& sight) const {
  if (layout_.heads() == 0) return out_(ctx, ctx.empty({x.dim(0), 0}));
  const Heads at = heads(ctx, x, rope);
  const Shape block{1, at.k.dim(1), x.dim(0), at.k.dim(2)};
  PagedKv kv{ctx.empty(block), ctx.empty(block)};
  std::vector<int32_t> slots(static_cast<size_t>(x.dim(0)));
  std::iota(slots.begin(), slots.end(), 0);
  ops::store_kv_(ctx, at.k, at.v, kv, slots);
  const std::vector<int32_t> blocks(sight.seen.size(), 0);
  const ops::PagedBatch batch{.offsets = sight.segments,
                              .context_lengths = sight.seen,
                              .block_tables = blocks,
                              .blocks_per_row = 1,
                              .is_causal = false};
  return out_(ctx, ops::paged_attention(ctx, at.q, kv, batch, scale_));
}

}  // namespace quern
