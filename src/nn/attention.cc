// SPDX-License-Identifier: Apache-2.0
#include "nn/attention.h"

#include <cmath>

#include "ops/norm.h"

namespace quern {
namespace {

Linear stacked_qkv(const Builder& b, const AttentionConfig& config, const HeadLayout& layout) {
  const int64_t q = config.sizes.heads * config.sizes.head_size,
                kv = config.sizes.kv_heads * config.sizes.head_size;
  return b.stack({{"q_proj", q, {layout.q_rows()}},
                  {"k_proj", kv, layout.kv_rows()},
                  {"v_proj", kv, layout.kv_rows()}},
                 config.hidden,
                 config.qkv_bias);
}

}  // namespace

Attention::Attention(const Builder& b, const AttentionConfig& config)
    : layout_(b.shard(), config.sizes),
      rope_style_(config.rope_style),
      scale_(1.0f / std::sqrt(static_cast<float>(config.sizes.head_size))),
      qkv_(stacked_qkv(b, config, layout_)),
      out_(b.rows("o_proj",
                  config.hidden,
                  {config.sizes.heads * config.sizes.head_size, {layout_.q_rows()}},
                  config.out_bias)) {
  if (!config.rotated_norm_eps) return;
  const int64_t size = config.sizes.head_size;
  norms_.emplace(HeadNorms{b.vector("query_layernorm.weight", size),
                           b.vector("key_layernorm.weight", size),
                           static_cast<float>(*config.rotated_norm_eps)});
}

// Queries and keys of qkv [T, H + 2 G, E], in place.
void Attention::rotate(Ctx& ctx, const Tensor& qkv, const RopeTables& rope) const {
  const int64_t h = layout_.heads(), g = layout_.kv_heads();
  Tensor rotated = qkv.slice(1, 0, h + g);
  ops::rope_(ctx, rotated, rope.cos, rope.sin, rope_style_);
  if (!norms_) return;
  Tensor queries = qkv.slice(1, 0, h), keys = qkv.slice(1, h, h + g);
  ops::rms_norm_heads_(ctx, queries, norms_->query, norms_->eps);
  ops::rms_norm_heads_(ctx, keys, norms_->key, norms_->eps);
}

Tensor Attention::operator()(Ctx& ctx, const Tensor& x, const Step& s, int layer) const {
  const int64_t h = layout_.heads(), g = layout_.kv_heads();
  if (h == 0)
    return out_(ctx,
                ctx.empty({x.dim(0), 0}));  // more ranks than heads: this one only joins the sum
  const Tensor qkv = qkv_(ctx, x).reshape({x.dim(0), h + 2 * g, layout_.head_size()});
  rotate(ctx, qkv, s.rope);
  PagedKv& kv = s.kv.layer(layer);
  ops::store_kv_(ctx, qkv.slice(1, h, h + g), qkv.slice(1, h + g, h + 2 * g), kv, s.batch.slots);
  return out_(ctx, ops::paged_attention(ctx, qkv.slice(1, 0, h), kv, s.paged(), scale_));
}

}  // namespace quern
