// SPDX-License-Identifier: Apache-2.0
// Whisper: an encoder of sound and a decoder that attends to it. Radford et al. 2022. Reference:
// transformers 5.23, models/whisper.
//
// A window of 3000 mel frames x becomes 1500 rows e:
//
//   h = gelu(conv(gelu(conv(x)))) + position      kernels of 3, the second with stride 2
//   per layer:  h += attention(norm(h));  h += mlp(norm(h));          e = norm(h)
//
// The text behind it, h = embedding + position:
//
//   per layer:  h += attention(norm(h));  h += attention to e(norm(h));  h += mlp(norm(h))
//
// A sequence begins with the rows of its window, as other models' sequences do with a picture, and
// its text follows. Each layer of the cache holds there what both attentions of that layer need:
//
//   position      0 .. 1499                1500 ..
//   layer l       K, V of e for layer l    K, V of the text
//
// So the cache, its blocks and prefixes, preemption and lost workers know nothing of encoders:
// cross-attention sees the first 1500 positions, self-attention those behind.
#include <numeric>

#include "base/error.h"
#include "models/families.h"
#include "nn/activation.h"
#include "nn/embedding.h"
#include "nn/mlp.h"
#include "nn/norm.h"
#include "nn/ranks.h"
#include "nn/sound_stem.h"
#include "nn/whisper_block.h"
#include "ops/attention.h"
#include "ops/elementwise.h"

namespace quern {
namespace {

constexpr double kNormEps = WhisperBlock::kNormEps;

// Of the encoder or the decoder.
struct StackConfig {
  int64_t layers = 0, heads = 0, inner = 0;  // inner: of the MLPs

  static StackConfig from(const Config& root, const std::string& part, int64_t width) {
    StackConfig c;
    c.layers = root.integer(part + "_layers", 1, 1000);
    c.heads = root.integer(part + "_attention_heads", 1, 4096);
    c.inner = root.integer(part + "_ffn_dim", 1, 1 << 24);
    if (width % c.heads != 0)
      fail(ErrorCode::data_loss,
           "{}: d_model {} is no multiple of {}_attention_heads {}",
           root.path(),
           width,
           part,
           c.heads);
    return c;
  }
};

struct WhisperConfig {
  int64_t width = 0, vocab = 0, bands = 0;
  int64_t sound_rows = 0, text_rows = 0;  // E: what the encoder makes of a window; most tokens
  StackConfig encoder, decoder;
  InPlaceOp activation = nullptr;

  HeadSizes heads() const { return {decoder.heads, decoder.heads, width / decoder.heads}; }
  static WhisperConfig from(const Config& root);
};

WhisperConfig WhisperConfig::from(const Config& root) {
  WhisperConfig c;
  c.width = root.integer("d_model", 1, 1 << 20);
  c.vocab = root.integer("vocab_size", 1, 1 << 24);
  c.bands = root.integer_or("num_mel_bins", 80, 1, 4096);
  c.sound_rows = root.integer_or("max_source_positions", 1500, 1, 1 << 20);
  c.text_rows = root.integer_or("max_target_positions", 448, 1, 1 << 20);
  c.encoder = StackConfig::from(root, "encoder", c.width);
  c.decoder = StackConfig::from(root, "decoder", c.width);
  c.activation = activation_op(root.string_or("activation_function", "gelu"), root.path());
  if (root.boolean_or("scale_embedding", false))
    fail(ErrorCode::unsupported,
         "{}: scale_embedding: no published Whisper has it; this build adds embeddings as stored",
         root.path());
  return c;
}

class Encoder {
 public:
  Encoder(const Builder& b, const WhisperConfig& c)
      : bands_(c.bands),
        rows_(c.sound_rows),
        stem_(b, c.bands, c.width),
        positions_(b, "embed_positions", c.sound_rows, c.width),
        norm_(b / "layer_norm", c.width, kNormEps) {
    for (int64_t i = 0; i < c.encoder.layers; ++i)
      blocks_.emplace_back(b / "layers" / i,
                           WhisperBlock::Sizes{c.width, c.encoder.heads, c.encoder.inner},
                           c.activation);
  }

  // [E, D]
  Tensor operator()(Ctx& ctx, const MediaInput& media, Probe* probe) const {
    check(media);
    Tensor h = stem_(ctx, media);
    std::vector<int32_t> places(static_cast<size_t>(rows_));
    std::iota(places.begin(), places.end(), 0);
    ops::add_(ctx, h, positions_(ctx, places));
    const int32_t segments[] = {0, static_cast<int32_t>(rows_)};
    for (const WhisperBlock& block : blocks_) block(ctx, h, {}, segments);
    Tensor rows = norm_(ctx, h);
    if (probe) probe->record("audio_encoder_last_hidden", 0, rows);
    return rows;
  }

 private:
  void check(const MediaInput& media) const {
    const bool is_window = media.rows > 0 && media.row_size == bands_ && media.tokens == rows_ &&
                           SoundStem::rows(media.rows) == rows_;
    if (is_window) return;
    fail(ErrorCode::invalid_argument,
         "a window of {} frames of {} mel bands for {} rows: the model expects {} frames of {} for "
         "{}; preprocessor_config.json and config.json do not belong together",
         media.rows,
         media.row_size,
         media.tokens,
         2 * rows_,
         bands_,
         rows_);
  }

  int64_t bands_, rows_;
  SoundStem stem_;
  Embedding positions_;
  std::vector<WhisperBlock> blocks_;
  LayerNorm norm_;
};

// The rows of a step, sorted: those of windows, and those of text.
struct SortedRows {
  SortedRows(const Batch& batch, int64_t window);

  std::vector<bool> is_text;   // of each step row
  std::vector<int32_t> place;  // of each step row, among its kind
  std::vector<int32_t> sound_slots;
  std::vector<int32_t> tokens, positions, slots;  // of text
  std::vector<int32_t> offsets{0};                // [S + 1], of the text of each sequence
  std::vector<int32_t> windows;                   // [S]: rows that its text may attend to

  int64_t sound() const { return static_cast<int64_t>(sound_slots.size()); }
  int64_t text() const { return static_cast<int64_t>(tokens.size()); }
};

SortedRows::SortedRows(const Batch& batch, int64_t window)
    : windows(batch.context_lengths.size(), static_cast<int32_t>(window)) {
  for (size_t s = 0; s < batch.context_lengths.size(); ++s) {
    const int32_t end = batch.offsets[s + 1];
    for (int32_t row = batch.offsets[s]; row < end; ++row) {
      const auto r = static_cast<size_t>(row);
      const int64_t position = batch.context_lengths[s] - (end - row) - window;
      auto& kind = position < 0 ? sound_slots : slots;
      is_text.push_back(position >= 0);
      place.push_back(static_cast<int32_t>(kind.size()));
      kind.push_back(batch.slots[r]);
      if (position < 0) continue;
      tokens.push_back(batch.tokens[r]);
      positions.push_back(static_cast<int32_t>(position));
    }
    offsets.push_back(static_cast<int32_t>(tokens.size()));
  }
}

// Heads of queries, keys and values of one attention over the cache.
struct CachedHeads {
  CachedHeads(const Builder& b, const WhisperConfig& c)
      : layout(b.shard(), c.heads()),
        scale(1.0f / std::sqrt(static_cast<float>(layout.head_size()))),
        out(b.rows("out_proj", c.width, {c.width, {layout.q_rows()}}, Bias::present)) {}

  static RowPart part(const char* name, const WhisperConfig& c, const HeadLayout& layout) {
    const bool is_key = std::string_view(name) == "k_proj";
    return {name, c.width, {layout.q_rows()}, is_key ? Bias::none : Bias::present};
  }
  Tensor attend(Ctx& ctx, const Tensor& q, const PagedKv& kv, const ops::PagedBatch& batch) const {
    return out(ctx, ops::paged_attention(ctx, q, kv, batch, scale));
  }
  // Columns of `stacked` [T, n heads E] as n heads.
  Tensor heads(const Tensor& stacked, int64_t n) const {
    return stacked.reshape({stacked.dim(0), n * layout.heads(), layout.head_size()});
  }
  // This rank has heads; else it only joins the sum.
  bool is_empty() const { return layout.heads() == 0; }
  Tensor nothing(Ctx& ctx, int64_t rows) const { return out(ctx, ctx.empty({rows, 0})); }

  HeadLayout layout;
  float scale;
  Linear out;
};

// What one layer sees of a step.
struct LayerStep {
  const SortedRows& rows;
  const Batch& batch;
  PagedKv& kv;
  int32_t window;

  ops::PagedBatch text() const {
    return {.offsets = rows.offsets,
            .context_lengths = batch.context_lengths,
            .block_tables = batch.block_tables,
            .blocks_per_row = batch.blocks_per_row,
            .first_key = window};
  }
  ops::PagedBatch sound() const {
    return {.offsets = rows.offsets,
            .context_lengths = rows.windows,
            .block_tables = batch.block_tables,
            .blocks_per_row = batch.blocks_per_row,
            .is_causal = false};
  }
};

class SelfAttention {
 public:
  SelfAttention(const Builder& b, const WhisperConfig& c)
      : heads_(b, c),
        qkv_(b.stack({heads_.part("q_proj", c, heads_.layout),
                      heads_.part("k_proj", c, heads_.layout),
                      heads_.part("v_proj", c, heads_.layout)},
                     c.width,
                     Bias::present)) {}

  Tensor operator()(Ctx& ctx, const Tensor& x, const LayerStep& s) const {
    if (heads_.is_empty()) return heads_.nothing(ctx, x.dim(0));
    const int64_t h = heads_.layout.heads();
    const Tensor qkv = heads_.heads(qkv_(ctx, x), 3);
    ops::store_kv_(ctx, qkv.slice(1, h, 2 * h), qkv.slice(1, 2 * h, 3 * h), s.kv, s.rows.slots);
    return heads_.attend(ctx, qkv.slice(1, 0, h), s.kv, s.text());
  }

 private:
  CachedHeads heads_;
  Linear qkv_;
};

class CrossAttention {
 public:
  CrossAttention(const Builder& b, const WhisperConfig& c)
      : heads_(b, c),
        query_(b.stack({heads_.part("q_proj", c, heads_.layout)}, c.width, Bias::present)),
        key_value_(b.stack(
            {heads_.part("k_proj", c, heads_.layout), heads_.part("v_proj", c, heads_.layout)},
            c.width,
            Bias::present)) {}

  // Keys and values of the window's rows e, once for the whole sequence.
  void take(Ctx& ctx, const Tensor& e, const LayerStep& s) const {
    if (heads_.is_empty() || e.dim(0) == 0) return;
    const int64_t h = heads_.layout.heads();
    const Tensor kv = heads_.heads(key_value_(ctx, e), 2);
    ops::store_kv_(ctx, kv.slice(1, 0, h), kv.slice(1, h, 2 * h), s.kv, s.rows.sound_slots);
  }
  Tensor operator()(Ctx& ctx, const Tensor& x, const LayerStep& s) const {
    if (heads_.is_empty()) return heads_.nothing(ctx, x.dim(0));
    return heads_.attend(ctx, heads_.heads(query_(ctx, x), 1), s.kv, s.sound());
  }

 private:
  CachedHeads heads_;
  Linear query_, key_value_;
};

struct TextBlock {
  TextBlock(const Builder& b, const WhisperConfig& c)
      : self_norm(b / "self_attn_layer_norm", c.width, kNormEps),
        cross_norm(b / "encoder_attn_layer_norm", c.width, kNormEps),
        mlp_norm(b / "final_layer_norm", c.width, kNormEps),
        self_attn(b / "self_attn", c),
        cross_attn(b / "encoder_attn", c),
        mlp(b,
            "fc1",
            "fc2",
            {.in = c.width, .inner = c.decoder.inner, .out = c.width},
            c.activation) {}

  // e: rows of windows; h: of text, updated in place
  void operator()(Ctx& ctx, const Tensor& e, Tensor& h, const LayerStep& s) const {
    cross_attn.take(ctx, e, s);
    if (h.dim(0) == 0) return;
    ops::add_(ctx, h, self_attn(ctx, self_norm(ctx, h), s));
    ops::add_(ctx, h, cross_attn(ctx, cross_norm(ctx, h), s));
    ops::add_(ctx, h, mlp(ctx, mlp_norm(ctx, h)));
  }

  LayerNorm self_norm, cross_norm, mlp_norm;
  SelfAttention self_attn;
  CrossAttention cross_attn;
  PlainMlp mlp;
};

class Whisper final : public Model {
 public:
  Whisper(const Builder& b, const WhisperConfig& c);

  const ModelInfo& info() const override { return info_; }
  KvSpec kv_spec() const override;
  int64_t weight_bytes() const override { return weight_bytes_; }
  Tensor encode(Ctx& ctx, const MediaInput& media, Probe* probe) const override;
  Tensor forward(Ctx& ctx, const Batch& batch, KvCache& kv, Probe* probe) const override;

 private:
  bool is_first() const { return stage_.rank() == 0; }
  bool is_last() const { return stage_.rank() + 1 == stage_.size(); }
  void check(const Batch& batch, const SortedRows& rows) const;
  Tensor embed(Ctx& ctx, const Batch& batch, const SortedRows& rows) const;
  Tensor rows_of(Ctx& ctx, const Tensor& h, const Batch& batch, const SortedRows& rows) const;

  WhisperConfig config_;
  HeadLayout heads_;
  Shard stage_;
  Range layers_;                    // of this stage
  std::optional<Encoder> encoder_;  // of the first stage, as are the tables
  std::optional<Embedding> embedding_, positions_;
  std::vector<TextBlock> blocks_;
  std::optional<LayerNorm> norm_;  // of the last stage, as is the head
  std::optional<LmHead> head_;
  ModelInfo info_;
  int64_t weight_bytes_ = 0;
};

Whisper::Whisper(const Builder& b, const WhisperConfig& c)
    : config_(c),
      heads_(b.shard(), c.heads()),
      stage_(b.stage()),
      layers_(stage_.range(c.decoder.layers)) {
  const Builder decoder = b / "model.decoder";
  if (is_first()) {
    encoder_.emplace(b / "model.encoder", c);
    embedding_.emplace(decoder, "embed_tokens", c.vocab, c.width);
    positions_.emplace(decoder, "embed_positions", c.text_rows, c.width);
  }
  for (int64_t i = layers_.begin; i < layers_.end; ++i)
    blocks_.emplace_back(decoder / "layers" / i, c);
  if (is_last()) {
    norm_.emplace(decoder / "layer_norm", c.width, kNormEps);
    head_.emplace(
        b, b.has("proj_out.weight") ? "proj_out" : "model.decoder.embed_tokens", c.vocab, c.width);
  }
  info_.architecture = "WhisperForConditionalGeneration";
  info_.model_type = "whisper";
  info_.vocab_size = c.vocab;
  info_.hidden_size = c.width;
  info_.layers = static_cast<int>(c.decoder.layers);
  info_.max_positions = c.sound_rows + c.text_rows;
  info_.heads = c.decoder.heads;
  info_.head_size = c.heads().head_size;
  info_.has_audio = true;
  weight_bytes_ = b.loaded_bytes();
}

KvSpec Whisper::kv_spec() const {
  KvSpec spec;
  spec.groups = {{.kind = KvKind::paged,
                  .layers = static_cast<int>(layers_.size()),
                  .kv_heads = heads_.kv_heads(),
                  .head_size = heads_.head_size()}};
  return spec;
}

Tensor Whisper::encode(Ctx& ctx, const MediaInput& media, Probe* probe) const {
  if (media.kind != MediaKind::audio) return Model::encode(ctx, media, probe);
  if (!is_first()) return ctx.empty({media.tokens, 0});
  return (*encoder_)(ctx, media, probe);
}

// A sequence that began otherwise would attend to rows that nobody wrote.
void Whisper::check(const Batch& batch, const SortedRows& rows) const {
  int64_t covered = 0;
  for (const MediaRows& media : batch.media) covered += media.rows.dim(0);
  if (covered != rows.sound())
    fail(ErrorCode::invalid_argument,
         "Whisper: a prompt begins with the {} rows of one window of a recording, and has no other",
         config_.sound_rows);
  for (const int32_t row : batch.sample_rows)
    if (!rows.is_text[static_cast<size_t>(row)])
      fail(ErrorCode::invalid_argument, "Whisper: the rows of a recording have no logits");
  for (const int32_t position : rows.positions)
    if (position >= config_.text_rows)
      fail(ErrorCode::invalid_argument,
           "Whisper: text of more than {} tokens behind a window",
           config_.text_rows);
}

// Rows of windows, then those of text.
Tensor Whisper::embed(Ctx& ctx, const Batch& batch, const SortedRows& rows) const {
  Tensor h = ctx.empty({rows.sound() + rows.text(), config_.width});
  for (const MediaRows& media : batch.media) {
    const auto first = static_cast<size_t>(media.first_row);
    QUERN_CHECK(
        media.first_row >= 0 && first + static_cast<size_t>(media.rows.dim(0)) <= rows.place.size(),
        "media rows {} at {}",
        media.rows.shape().text(),
        media.first_row);
    if (media.rows.dim(0) > 0) ops::copy_rows_(ctx, h, rows.place[first], media.rows);
  }
  if (rows.text() == 0) return h;
  Tensor text = (*embedding_)(ctx, rows.tokens);
  ops::add_(ctx, text, (*positions_)(ctx, rows.positions));
  ops::copy_rows_(ctx, h, rows.sound(), text);
  return h;
}

Tensor Whisper::forward(Ctx& ctx, const Batch& batch, KvCache& kv, Probe* probe) const {
  const SortedRows rows(batch, config_.sound_rows);
  if (!ctx.device.is_meta()) check(batch, rows);
  const Tensor all =
      is_first() ? embed(ctx, batch, rows)
                 : receive_from_previous_stage(ctx, {batch.token_count(), config_.width}, stage_);
  const Tensor e = all.slice(0, 0, rows.sound());
  Tensor h = all.slice(0, rows.sound(), batch.token_count());
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const int layer = static_cast<int>(i);
    if (probe) probe->record("hidden", static_cast<int>(layers_.begin) + layer, h);
    blocks_[i](ctx, e, h, {rows, batch, kv.layer(layer), static_cast<int32_t>(config_.sound_rows)});
  }
  if (!is_last()) {
    send_to_next_stage(ctx, all, stage_);
    return {};
  }
  if (probe) probe->record("hidden", static_cast<int>(config_.decoder.layers), (*norm_)(ctx, h));
  return rows_of(ctx, h, batch, rows);
}

Tensor Whisper::rows_of(Ctx& ctx,
                        const Tensor& h,
                        const Batch& batch,
                        const SortedRows& rows) const {
  std::vector<int32_t> sampled;
  for (const int32_t row : batch.sample_rows)
    sampled.push_back(rows.place[static_cast<size_t>(row)]);
  return (*head_)(ctx, (*norm_)(ctx, ops::gather_rows(ctx, h, sampled)));
}

}  // namespace

std::unique_ptr<Model> make_whisper(const Builder& b) {
  return std::make_unique<Whisper>(b, WhisperConfig::from(b.config()));
}

}  // namespace quern
