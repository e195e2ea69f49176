// SPDX-License-Identifier: Apache-2.0
// GLM-ASR-Nano: an encoder of sound after Whisper's (Radford et al. 2022), with rotary positions
// instead of learned ones, before a Llama decoder. Reference: transformers 5.23, models/glmasr.
//
// A window of 3000 mel frames x becomes 375 tokens, silence behind the sound included, of which
// those that lie on sound are kept:
//
//   h = gelu(conv(gelu(conv(x))))                 kernels of 3, the second with stride 2: 1500 rows
//   per layer:  h += Wo attention(rope(Wq n + bq), rope(Wk n), Wv n + bv) + bo,  n = layer_norm(h)
//               h += W2 gelu(W1 layer_norm(h) + b1) + b2
//   y = layer_norm(h), four rows side by side;    token = W4 gelu(W3 y + b3) + b4
//
// Files are of three ages. The first, with code of its own, calls the layers as Whisper does and
// turns neighbours 2j and 2j + 1 of a head; today's calls them as transformers does and has its
// rows permuted so that j and j + R/2 of the R elements that turn make a pair. One in between has
// today's prefixes, Whisper's names for what is inside, and neighbours for pairs.
#include <numeric>

#include "base/error.h"
#include "models/families.h"
#include "nn/activation.h"
#include "nn/decoder_model.h"
#include "nn/mlp.h"
#include "nn/norm.h"
#include "nn/sound_stem.h"
#include "nn/tower_block.h"

namespace quern {
namespace {

constexpr int32_t kAudioToken = 59260;  // <|pad|>
constexpr double kNormEps = 1e-5, kTheta = 10000, kRotaryShare = 0.5;

struct EncoderConfig {
  int64_t layers = 0, width = 0, bands = 0;
  int64_t inner = 0;   // of the blocks' MLPs; also the width of the rows that become tokens
  int64_t rotary = 0;  // elements of a head that turn
  HeadSizes heads;
  InPlaceOp activation = nullptr;

  static EncoderConfig from(const Config& audio);
};

EncoderConfig EncoderConfig::from(const Config& audio) {
  EncoderConfig c;
  c.layers = audio.integer_or("num_hidden_layers", 32, 1, 1000);
  c.width = audio.integer_or("hidden_size", 1280, 1, 1 << 20);
  c.inner = audio.integer_or("intermediate_size", 5120, 1, 1 << 24);
  c.bands = audio.integer_or("num_mel_bins", 128, 1, 4096);
  c.heads.heads = audio.integer_or("num_attention_heads", 20, 1, 4096);
  c.heads.kv_heads = audio.integer_or("num_key_value_heads", c.heads.heads, 1, 4096);
  c.heads.head_size = audio.integer_or("head_dim", c.width / c.heads.heads, 2, 4096);
  if (c.heads.heads % c.heads.kv_heads != 0)
    fail(ErrorCode::data_loss,
         "{}: num_attention_heads {} is no multiple of num_key_value_heads {}",
         audio.path(),
         c.heads.heads,
         c.heads.kv_heads);
  if (!audio.has("head_dim") && c.width % c.heads.heads != 0)
    fail(ErrorCode::data_loss,
         "{}: hidden_size {} is no multiple of num_attention_heads {}",
         audio.path(),
         c.width,
         c.heads.heads);
  c.rotary = rotary_size(audio, c.heads.head_size, kRotaryShare);
  c.activation = activation_op(audio.string_or("hidden_act", "gelu"), audio.path());
  return c;
}

// `older` where the file has such a tensor, else `newer`.
std::string_view name_in(const Builder& b, std::string_view newer, std::string_view older) {
  return b.has(format("{}.weight", older)) ? older : newer;
}

VisionAttentionConfig attention_config(const Builder& attn, const EncoderConfig& c) {
  constexpr std::string_view kOlderOut = "out_proj";
  const std::string_view out = name_in(attn, "o_proj", kOlderOut);
  return {
      .hidden = c.width,
      .heads = c.heads.heads,
      .kv_heads = c.heads.kv_heads,
      .head_size = c.heads.head_size,
      .is_stacked = false,
      .out_name = out,
      .key_bias = Bias::none,
      .rope_style = out == kOlderOut ? ops::RopeStyle::interleaved : ops::RopeStyle::half_split};
}

struct EncoderBlock : TowerBlock<LayerNorm, PlainMlp> {
  EncoderBlock(const Builder& b, const EncoderConfig& c)
      : TowerBlock{
            LayerNorm(b / name_in(b, "input_layernorm", "self_attn_layer_norm"), c.width, kNormEps),
            LayerNorm(
                b / name_in(b, "post_attention_layernorm", "final_layer_norm"), c.width, kNormEps),
            VisionAttention(b / "self_attn", attention_config(b / "self_attn", c)),
            PlainMlp(b,
                     name_in(b, "mlp.fc1", "fc1"),
                     name_in(b, "mlp.fc2", "fc2"),
                     {.in = c.width, .inner = c.inner, .out = c.width},
                     c.activation)} {}
};

// Where the parts of a tower stand in a file; b at the root.
struct Places {
  explicit Places(const Builder& b)
      : is_first_upload(b.has("audio_encoder.whisper.conv1.weight")),
        encoder(b / (is_first_upload ? "audio_encoder.whisper" : "audio_tower")),
        norm(is_first_upload ? b / "audio_encoder.layer_norm"
                             : encoder / name_in(encoder, "norm", "layer_norm")),
        projector(b / (is_first_upload ? "audio_encoder.adapting" : "multi_modal_projector")),
        projector_in(is_first_upload ? "0" : "linear_1"),
        projector_out(is_first_upload ? "2" : "linear_2") {}

  bool is_first_upload;
  Builder encoder, norm, projector;
  std::string_view projector_in, projector_out;
};

class Encoder final : public AudioTower {
 public:
  Encoder(const Places& at, const EncoderConfig& c, int64_t out, InPlaceOp projector_act)
      : config_(c),
        rope_(Rope::from(at.encoder, at.encoder.config().sub("audio_config"), c.rotary, kDefaults)),
        stem_(at.encoder, c.bands, c.width),
        last_norm_(at.norm, c.width, kNormEps),
        projector_(at.projector,
                   at.projector_in,
                   at.projector_out,
                   {.in = c.inner, .inner = 2 * out, .out = out},
                   projector_act) {
    for (int64_t i = 0; i < c.layers; ++i) blocks_.emplace_back(at.encoder / "layers" / i, c);
  }

  Tensor operator()(Ctx& ctx, const MediaInput& media, Probe* probe) const override {
    check(media);
    Tensor h = stem_(ctx, media);
    std::vector<int32_t> positions(static_cast<size_t>(h.dim(0)));
    std::iota(positions.begin(), positions.end(), 0);
    const RopeTables rope = rope_.tables(ctx, positions, 1);
    const int32_t segments[] = {0, static_cast<int32_t>(h.dim(0))};  // nothing is masked
    for (const EncoderBlock& block : blocks_) block(ctx, h, rope, segments);
    const Tensor last = last_norm_(ctx, h);
    if (probe) probe->record("audio_encoder_last_hidden", 0, last);
    const Tensor rows = last.reshape({last.numel() / config_.inner, config_.inner});
    Tensor tokens = projector_(ctx, rows.slice(0, 0, media.tokens));
    if (probe) probe->record("audio_embeds", 0, tokens);
    return tokens;
  }

 private:
  static inline const RopeDefaults kDefaults{.theta = kTheta};

  void check(const MediaInput& media) const {
    const int64_t values = media.rows > 0 ? SoundStem::rows(media.rows) * config_.width : 0;
    const bool is_whole = values > 0 && values % config_.inner == 0;
    if (is_whole && media.row_size == config_.bands && media.tokens <= values / config_.inner)
      return;
    fail(ErrorCode::invalid_argument,
         "a window of {} frames of {} mel bands for {} tokens: the model expects {} bands and rows "
         "of {} values; preprocessor_config.json and config.json do not belong together",
         media.rows,
         media.row_size,
         media.tokens,
         config_.bands,
         config_.inner);
  }

  EncoderConfig config_;
  Rope rope_;
  SoundStem stem_;
  std::vector<EncoderBlock> blocks_;
  LayerNorm last_norm_;
  PlainMlp projector_;
};

std::unique_ptr<AudioTower> make_encoder(const Builder& b, int64_t decoder_width) {
  const Config& root = b.config();
  const Config audio = root.sub("audio_config");
  const EncoderConfig c = EncoderConfig::from(audio);
  // Stated by the first upload alone; later ones have it in the widths.
  if (root.has("merge_factor") && root.integer("merge_factor") * c.width != c.inner)
    fail(ErrorCode::unsupported,
         "{}: merge_factor {}: rows of {} values, {} to a token, are expected to be as wide as the "
         "encoder's MLP, {}",
         root.path(),
         root.integer("merge_factor"),
         c.width,
         root.integer("merge_factor"),
         c.inner);
  const InPlaceOp act = activation_op(root.string_or("projector_hidden_act", "gelu"), root.path());
  if (b.stage().rank() != 0) return nullptr;
  return std::make_unique<Encoder>(Places(b), c, decoder_width, act);
}

}  // namespace

std::unique_ptr<Model> make_glmasr(const Builder& b) {
  const Config& root = b.config();
  DecoderConfig c = llama_config(root, kNormEps);
  c.is_tied = root.boolean_or("tie_word_embeddings", true);  // unless the file has a matrix
  auto model = std::make_unique<DecoderModel>(
      b,
      DecoderModel::Family{"GlmAsrForConditionalGeneration", "glmasr"},
      c,
      Rope::from(b, root.sub_or_self("text_config"), c.attention.sizes.head_size));
  const auto token =
      static_cast<int32_t>(root.integer_or("audio_token_id", kAudioToken, 0, c.vocab - 1));
  model->take_sound(b, make_encoder(b, c.hidden), token);
  return model;
}

}  // namespace quern
