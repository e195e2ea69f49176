// SPDX-License-Identifier: Apache-2.0
#include "nn/decoder.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "nn/ranks.h"
#include "ops/elementwise.h"

namespace quern {
namespace {

constexpr int64_t kMaxLayers = 1000, kMaxWidth = int64_t{1} << 24;

HeadSizes head_sizes(const Config& text, int64_t hidden) {
  HeadSizes s;
  s.heads = text.integer("num_attention_heads", 1, 4096);
  s.kv_heads = text.integer_or("num_key_value_heads", s.heads, 1, 4096);
  if (!text.has("head_dim") && hidden % s.heads != 0)
    fail(ErrorCode::data_loss,
         "{}: hidden_size {} is no multiple of num_attention_heads {}",
         text.path(),
         hidden,
         s.heads);
  s.head_size = text.integer_or("head_dim", hidden / s.heads, 2, 4096);
  if (s.heads % s.kv_heads != 0)
    fail(ErrorCode::data_loss,
         "{}: num_attention_heads {} is no multiple of num_key_value_heads {}",
         text.path(),
         s.heads,
         s.kv_heads);
  if (s.head_size % 2 != 0)
    fail(ErrorCode::data_loss, "{}: head size {}: expected an even one", text.path(), s.head_size);
  return s;
}

std::vector<DecoderBlock> load_blocks(const Builder& b, const DecoderConfig& config, Range layers) {
  std::vector<DecoderBlock> blocks;
  blocks.reserve(static_cast<size_t>(layers.size()));
  for (int64_t i = layers.begin; i < layers.end; ++i) blocks.emplace_back(b / i, config, i);
  return blocks;
}

std::variant<Attention, LatentAttention> make_attention(const Builder& b, const DecoderConfig& c) {
  if (c.latent) return LatentAttention(b, *c.latent);
  return Attention(b, c.attention);
}

std::variant<GatedMlp, Moe> make_mlp(const Builder& b, const DecoderConfig& c, int64_t layer) {
  if (c.moe && c.moe->holds_at(layer)) return Moe(b, *c.moe, layer);
  if (c.is_gate_up_fused) return GatedMlp::fused(b, c.hidden, c.intermediate, c.mlp.gate);
  return GatedMlp(b, c.hidden, c.intermediate, c.mlp);
}

Tensor run(Ctx& ctx, const std::variant<GatedMlp, Moe>& mlp, const Tensor& x, const Step& s) {
  if (const Moe* moe = std::get_if<Moe>(&mlp)) return (*moe)(ctx, x, s);
  return std::get<GatedMlp>(mlp)(ctx, x);
}

// Where the file has an output matrix of its own, the reference uses it, whatever the flag says.
std::string_view head_name(const Builder& b, const DecoderConfig& config) {
  return config.is_tied && !b.has("lm_head.weight") ? "model.embed_tokens" : "lm_head";
}

}  // namespace

int64_t count_labels(const Config& root) {
  constexpr int64_t kMostLabels = 1 << 16, kSilent = 2;
  if (root.has("num_labels")) return root.integer("num_labels", 1, kMostLabels);
  const auto names = root.find("id2label");
  if (!names) return kSilent;
  const auto count = static_cast<int64_t>(names->json().size());
  if (count < 1 || count > kMostLabels)
    fail(
        ErrorCode::data_loss, "{}: {} labels: expected 1 to {}", names->path(), count, kMostLabels);
  return count;
}

DecoderConfig DecoderConfig::from(const Config& root, double default_eps, Gates gates) {
  DecoderConfig c = without_heads(root, default_eps, gates);
  c.attention.sizes = head_sizes(root.sub_or_self("text_config"), c.hidden);
  return c;
}

DecoderConfig DecoderConfig::without_heads(const Config& root, double default_eps, Gates gates) {
  const Config text = root.sub_or_self("text_config");
  DecoderConfig c;
  const std::string act = text.string_or("hidden_act", "silu");
  if (gates == Gates::silu) require_silu(act, text.path());
  c.mlp.gate = gate_op(act, text.path());
  c.vocab = text.integer("vocab_size", 1, int64_t{1} << 24);
  c.hidden = text.integer("hidden_size", 1, kMaxWidth);
  c.intermediate = text.integer("intermediate_size", 1, kMaxWidth);
  c.max_positions = text.integer_or("max_position_embeddings", 2048, 1);
  c.layers = static_cast<int>(text.integer("num_hidden_layers", 1, kMaxLayers));
  c.norm_eps = norm_eps_in(text, "rms_norm_eps", default_eps);
  // Layers from max_window_layers on would see a window only; the published files set the flag for
  // none.
  if (text.boolean_or("use_sliding_window", false) &&
      text.integer_or("max_window_layers", 0) < c.layers)
    fail(ErrorCode::unsupported,
         "{}: use_sliding_window: this build attends to the whole context only",
         text.path());
  // Saves of different age keep the flag at the top or with the text model.
  c.is_tied = text.boolean_or("tie_word_embeddings", false) ||
              root.boolean_or("tie_word_embeddings", false);
  c.labels = count_labels(root);
  c.attention.hidden = c.hidden;
  return c;
}

DecoderBlock::DecoderBlock(const Builder& b, const DecoderConfig& c, int64_t layer)
    : attn_norm(b / "input_layernorm", c.hidden, c.norm_eps, c.norm),
      mlp_norm(b / "post_attention_layernorm", c.hidden, c.norm_eps, c.norm),
      attn(make_attention(b / "self_attn", c)),
      mlp(make_mlp(b / "mlp", c, layer)) {
  if (!c.has_sandwich_norms) return;
  attn_out_norm.emplace(b / "post_self_attn_layernorm", c.hidden, c.norm_eps, c.norm);
  mlp_out_norm.emplace(b / "post_mlp_layernorm", c.hidden, c.norm_eps, c.norm);
}

void DecoderBlock::operator()(Ctx& ctx, Tensor& h, const Step& s, int layer) const {
  const auto attend = [&](const auto& form) { return form(ctx, attn_norm(ctx, h), s, layer); };
  const auto add = [&](const Tensor& x, const std::optional<Norm>& norm) {
    ops::add_(ctx, h, norm ? (*norm)(ctx, x) : x);
  };
  add(std::visit(attend, attn), attn_out_norm);
  add(run(ctx, mlp, mlp_norm(ctx, h), s), mlp_out_norm);
}

Decoder::Decoder(const Builder& b, const DecoderConfig& config, Rope rope)
    : config_(config),
      heads_(b.shard(), config.attention.sizes),
      rope_(std::move(rope)),
      stage_(b.stage()),
      layers_(stage_.range(config.layers)),
      output_(b.output()),
      answers_(is_last() && b.shard().rank() == 0) {
  if (stage_.rank() == 0) embedding_.emplace(b, "model.embed_tokens", config.vocab, config.hidden);
  blocks_ = load_blocks(b / "model.layers", config, layers_);
  if (!is_last()) return;
  norm_.emplace(b / "model.norm", config.hidden, config.norm_eps, config.norm);
  if (output_ == Output::logits)
    head_.emplace(b, head_name(b, config), config.vocab, config.hidden, config.head_bias);
  if (output_ == Output::scores && answers_)
    score_.emplace(b, "score", config.labels, config.hidden);
}

ModelInfo Decoder::info(std::string_view architecture, std::string_view model_type) const {
  ModelInfo info;
  info.architecture = architecture;
  info.model_type = model_type;
  info.vocab_size = config_.vocab;
  info.hidden_size = config_.hidden;
  if (output_ == Output::hidden) info.row_size = config_.hidden;
  if (output_ == Output::scores) info.row_size = config_.labels;
  info.layers = config_.layers;
  info.max_positions = config_.max_positions;
  info.rope_axes = rope_.axes();
  info.heads = config_.attention.sizes.heads;
  info.head_size = config_.attention.sizes.head_size;
  return info;
}

KvSpec Decoder::kv_spec() const {
  KvSpec spec;
  if (config_.latent) {
    spec.groups.push_back({.kind = KvKind::latent,
                           .layers = static_cast<int>(layers_.size()),
                           .kv_heads = 1,
                           .head_size = config_.latent->row()});
    return spec;
  }
  spec.groups.push_back({.kind = KvKind::paged,
                         .layers = static_cast<int>(layers_.size()),
                         .kv_heads = heads_.kv_heads(),
                         .head_size = heads_.head_size()});
  return spec;
}

Tensor Decoder::embed(Ctx& ctx, const Batch& batch) const {
  Tensor h = (*embedding_)(ctx, batch.tokens);
  for (const MediaRows& media : batch.media) {
    QUERN_CHECK(media.first_row >= 0 && media.first_row + media.rows.dim(0) <= h.dim(0),
                "media rows {} at {} of {}",
                media.rows.shape().text(),
                media.first_row,
                h.dim(0));
    ops::copy_rows_(ctx, h, media.first_row, media.rows);
  }
  return h;
}

Tensor Decoder::operator()(Ctx& ctx, const Batch& batch, KvCache& kv, Probe* probe) const {
  const Step step{batch, kv, rope_.tables(ctx, batch.positions, batch.axes), probe};
  Tensor h = first_hidden(ctx, batch);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const int layer = static_cast<int>(i);
    if (probe) probe->record("hidden", static_cast<int>(layers_.begin) + layer, h);
    blocks_[i](ctx, h, step, layer);
  }
  if (!is_last()) {
    send_to_next_stage(ctx, h, stage_);
    return {};
  }
  if (probe) probe->record("hidden", config_.layers, (*norm_)(ctx, h));
  // Only rows that are sampled need the norm and the output matrix.
  return rows_of(ctx, (*norm_)(ctx, ops::gather_rows(ctx, h, batch.sample_rows)));
}

// All ranks have the same hidden states; the one that answers hands them on.
Tensor Decoder::rows_of(Ctx& ctx, const Tensor& normed) const {
  if (head_) return (*head_)(ctx, normed);
  if (!answers_) return {};
  return score_ ? (*score_)(ctx, normed) : normed;
}

Tensor Decoder::first_hidden(Ctx& ctx, const Batch& batch) const {
  if (stage_.rank() == 0) return embed(ctx, batch);
  return receive_from_previous_stage(ctx, {batch.token_count(), config_.hidden}, stage_);
}

}  // namespace quern
