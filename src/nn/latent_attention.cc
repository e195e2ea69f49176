// SPDX-License-Identifier: Apache-2.0
#include "nn/latent_attention.h"

#include "ops/heads.h"

namespace quern {
namespace {

// The reference builds these two norms without the config's epsilon.
constexpr double kNormEps = 1e-6;

Linear stacked_down(const Builder& b, const LatentConfig& c) {
  const RowPart kv{"kv_a_proj_with_mqa", c.kv_rank + c.rope, {{0, c.kv_rank + c.rope}}};
  if (c.q_rank == 0) return b.stack({kv}, c.hidden, c.bias);
  return b.stack({{"q_a_proj", c.q_rank, {{0, c.q_rank}}}, kv}, c.hidden, c.bias);
}

Linear stacked_queries(const Builder& b, const LatentConfig& c, Range heads) {
  const int64_t head = c.nope + c.rope;
  const RowPart part{c.q_rank > 0 ? "q_b_proj" : "q_proj",
                     c.heads * head,
                     {{heads.begin * head, heads.end * head}}};
  return b.stack({part}, c.q_rank > 0 ? c.q_rank : c.hidden);
}

// kv_b_proj [H (nope + value), kv_rank] holds both parts of each head, keys first.
std::vector<Range> head_rows(const LatentConfig& c, Range heads, Range part) {
  std::vector<Range> out;
  for (int64_t h = heads.begin; h < heads.end; ++h) {
    const int64_t first = h * (c.nope + c.value);
    out.push_back({first + part.begin, first + part.end});
  }
  return out;
}

std::vector<std::unique_ptr<ops::PackedWeight>> head_products(const Builder& b,
                                                              const LatentConfig& c,
                                                              std::span<const Range> rows,
                                                              Builder::Turned turned) {
  return b.heads("kv_b_proj", {c.heads * (c.nope + c.value), c.kv_rank}, rows, turned);
}

}  // namespace

LatentAttention::LatentAttention(const Builder& b, const LatentConfig& c)
    : c_(c),
      heads_(b.shard().range(c.heads)),
      down_(stacked_down(b, c)),
      q_(stacked_queries(b, c, heads_)),
      kv_norm_(b / "kv_a_layernorm", c.kv_rank, kNormEps),
      keys_(head_products(b, c, head_rows(c, heads_, {0, c.nope}), Builder::Turned::yes)),
      values_(head_products(
          b, c, head_rows(c, heads_, {c.nope, c.nope + c.value}), Builder::Turned::no)),
      observer_(b.observer()),
      kv_b_path_((b / "kv_b_proj").prefix()),
      out_(b.rows("o_proj",
                  c.hidden,
                  {c.heads * c.value, {{heads_.begin * c.value, heads_.end * c.value}}},
                  c.bias)) {
  if (c.q_rank > 0) q_norm_.emplace(b / "q_a_layernorm", c.q_rank, kNormEps);
}

Tensor LatentAttention::queries(Ctx& ctx, const Tensor& x, const Tensor& down) const {
  return q_norm_ ? q_(ctx, (*q_norm_)(ctx, down.slice(1, 0, c_.q_rank))) : q_(ctx, x);
}

void LatentAttention::store(Ctx& ctx, const Tensor& down, const Step& s, PagedKv& kv) const {
  const int64_t c = c_.q_rank, r = c + c_.kv_rank;
  const Tensor latent = kv_norm_(ctx, down.slice(1, c, r));
  if (observer_ != nullptr) observer_->saw(kv_b_path_, latent);
  Tensor key = down.reshape({down.dim(0), 1, down.dim(1)}).slice(2, r, down.dim(1));
  ops::rope_(ctx, key, s.rope.cos, s.rope.sin, c_.rope_style);
  ops::store_latent_(ctx, key.select(1, 0), latent, kv, s.batch.slots);
}

Tensor LatentAttention::operator()(Ctx& ctx, const Tensor& x, const Step& s, int layer) const {
  const int64_t t = x.dim(0), h = heads_.size();
  if (h == 0)
    return out_(ctx, ctx.empty({t, 0}));  // more ranks than heads: this one only joins the sum
  const Tensor down = down_(ctx, x);
  PagedKv& kv = s.kv.layer(layer);
  store(ctx, down, s, kv);
  const Tensor q = queries(ctx, x, down).reshape({t, h, c_.nope + c_.rope});
  Tensor query = ctx.empty({t, h, c_.row()});
  Tensor rotated = query.slice(2, 0, c_.rope), absorbed = query.slice(2, c_.rope, c_.row());
  ops::copy_heads_(ctx, rotated, q.slice(2, c_.nope, c_.nope + c_.rope));
  ops::rope_(ctx, query, s.rope.cos, s.rope.sin, c_.rope_style);  // each row's first elements
  ops::matmul_heads_(ctx, q.slice(2, 0, c_.nope), keys_, absorbed);
  const Tensor latents =
      ops::latent_attention(ctx, query, kv, s.paged(), static_cast<float>(c_.scale), c_.kv_rank);
  Tensor values = ctx.empty({t, h, c_.value});
  ops::matmul_heads_(ctx, latents.reshape({t, h, c_.kv_rank}), values_, values);
  return out_(ctx, values.reshape({t, h * c_.value}));
}

}  // namespace quern
