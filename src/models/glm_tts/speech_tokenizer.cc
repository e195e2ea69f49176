// SPDX-License-Identifier: Apache-2.0
// WhisperVQ. Zeng et al. 2024, "GLM-4-Voice", section 3.1; Radford et al. 2022. Reference: the
// repository of GLM-TTS, cosyvoice/cli/frontend.py and its WhisperVQ encoder.
//
// A piece of n samples, with silence behind it, has ceil(n / 160) mel frames x that lie on sound:
//
//   h = gelu(conv(gelu(conv(x)))) + position      kernels of 3, the second with stride 2
//   per layer:  h += attention(norm(h));  h += mlp(norm(h))
//   behind layer `pooling_position`:   the mean of every `pooling_kernel_size` rows
//   behind layer `quantize_position`:  token = the row of the codebook that is nearest to h
//
// A row sees all rows before it and those of its own block of 200, as far as they lie on sound.
// Where the sound ends inside of the rows of its last token, that token's mean takes in rows that
// lie on silence: they are computed, and seen by nobody.
//
// How much silence there is shows in the last frames. One piece alone is filled up to whole tokens;
// several are looked at together by the reference, all as long as the longest.
#include "models/glm_tts/speech_tokenizer.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "nn/embedding.h"
#include "nn/sound_stem.h"
#include "nn/whisper_block.h"

namespace quern {
namespace {

constexpr int64_t kStemStride = 2;

enum class PoolKind : uint8_t { mean, largest };

struct TokenizerConfig {
  int64_t width = 0, heads = 0, inner = 0, bands = 0;
  int64_t positions = 0;  // rows of a piece, at most
  int64_t layers = 0;     // before the codebook
  int64_t vocab = 0;
  int64_t pool = 1;         // rows of a token
  int64_t pool_behind = 0;  // so many layers
  PoolKind pool_kind = PoolKind::mean;
  int64_t block = 0;  // rows that see each other, before pooling; 0: all do
  StemSight stem = StemSight::centred;
  InPlaceOp activation = nullptr;

  static TokenizerConfig from(const Config& root);
};

PoolKind read_pool_kind(const Config& root) {
  const std::string name = root.string_or("pooling_type", "max");
  if (name == "avg") return PoolKind::mean;
  if (name == "max") return PoolKind::largest;
  fail(ErrorCode::unsupported, "{}: pooling_type {}: expected avg or max", root.path(), name);
}

void check(const Config& root, const TokenizerConfig& c) {
  if (c.width % c.heads != 0)
    fail(ErrorCode::data_loss,
         "{}: d_model {} is no multiple of encoder_attention_heads {}",
         root.path(),
         c.width,
         c.heads);
  if (c.pool > 1 && c.pool_behind > c.layers)
    fail(ErrorCode::unsupported,
         "{}: pooling_position {} lies behind quantize_position {}",
         root.path(),
         c.pool_behind,
         c.layers);
  for (const char* key : {"encoder_causal_attention", "quantize_causal_encoder", "scale_embedding"})
    if (root.boolean_or(key, false))
      fail(ErrorCode::unsupported, "{}: {}: only false is supported", root.path(), key);
}

TokenizerConfig TokenizerConfig::from(const Config& root) {
  TokenizerConfig c;
  c.width = root.integer("d_model", 1, 1 << 20);
  c.heads = root.integer("encoder_attention_heads", 1, 4096);
  c.inner = root.integer("encoder_ffn_dim", 1, 1 << 24);
  c.bands = root.integer_or("num_mel_bins", 128, 1, 512);
  c.positions = root.integer_or("max_source_positions", 1500, 1, 1 << 20);
  c.layers = root.integer("quantize_position", 1, root.integer("encoder_layers", 1, 1000));
  c.vocab = root.integer("quantize_vocab_size", 1, 1 << 24);
  c.pool = root.integer_or("pooling_kernel_size", 1, 1, 1000);
  c.pool_behind = c.pool > 1 ? root.integer("pooling_position", 1, 1000) : c.layers;
  c.pool_kind = c.pool > 1 ? read_pool_kind(root) : PoolKind::mean;
  c.block = root.integer_or("quantize_causal_block_size", 0, c.pool, 1 << 20);
  if (root.boolean_or("encoder_causal_convolution", false)) c.stem = StemSight::causal;
  c.activation = activation_op(root.string_or("activation_function", "gelu"), root.path());
  check(root, c);
  return c;
}

// Which rows a row sees: all before it and those of its own block, of which `real` lie on sound.
struct BlockSight {
  BlockSight(int64_t rows, int64_t real, int64_t block) {
    if (block == 0) block = rows;
    for (int64_t end = block; segments.back() < rows; end += block) {
      segments.push_back(static_cast<int32_t>(std::min(end, rows)));
      seen.push_back(static_cast<int32_t>(std::min<int64_t>(segments.back(), real)));
    }
  }
  PrefixSight view() const { return {segments, seen}; }

  std::vector<int32_t> segments{0}, seen;
};

// Every `size` rows of h as one.
Tensor pooled(Ctx& ctx, const Tensor& h, int64_t size, PoolKind kind) {
  Tensor out = ctx.empty({h.dim(0) / size, h.dim(1)});
  if (ctx.device.is_meta()) return out;
  const int64_t width = h.dim(1);
  for (int64_t row = 0; row < out.dim(0); ++row)
    for (int64_t c = 0; c < width; ++c) {
      const float* from = h.data<float>() + row * size * width + c;
      float value = *from;
      for (int64_t i = 1; i < size; ++i)
        value = kind == PoolKind::mean ? value + from[i * width] : std::max(value, from[i * width]);
      out.data<float>()[row * width + c] =
          kind == PoolKind::mean ? value / static_cast<float>(size) : value;
    }
  return out;
}

// The rows of a table that lie nearest to other rows.
class Codebook {
 public:
  Codebook(const Builder& b, int64_t vocab, int64_t width)
      : products_(b.exact("codebook", vocab, width)) {
    const Tensor rows = b.vector("codebook.weight", vocab * width);
    if (rows.raw() == nullptr) return;  // on meta
    for (int64_t v = 0; v < vocab; ++v) {
      double square = 0;
      for (int64_t c = 0; c < width; ++c) {
        const double x = rows.data<float>()[v * width + c];
        square += x * x;
      }
      squares_.push_back(square);
    }
  }

  struct Nearest {
    std::vector<int32_t> codes;  // of equally near ones the first
    std::vector<float> gaps;     // squared distance to the next nearest, less that to the nearest
  };
  Nearest nearest(const Ctx& ctx, const Tensor& h) const {
    constexpr int64_t kRows = 64;  // at once: a product is as wide as the table is long
    Ctx exact = ctx;
    exact.activation = Activation::f32;
    Nearest out;
    for (int64_t first = 0; first < h.dim(0); first += kRows) {
      const int64_t end = std::min(first + kRows, h.dim(0));
      const Tensor products = products_(exact, h.slice(0, first, end));
      for (int64_t row = 0; row < end - first && !ctx.device.is_meta(); ++row)
        add_nearest(products.data<float>() + row * products.dim(1), out);
    }
    return out;
  }

 private:
  // |h - c|² without |h|², which is the same for all.
  void add_nearest(const float* products, Nearest& out) const {
    size_t best = 0;
    double least = INFINITY, second = INFINITY;
    for (size_t v = 0; v < squares_.size(); ++v) {
      const double distance = squares_[v] - 2.0 * products[v];
      if (distance < least)
        best = v, second = std::exchange(least, distance);
      else
        second = std::min(second, distance);
    }
    out.codes.push_back(static_cast<int32_t>(best));
    out.gaps.push_back(static_cast<float>(second - least));
  }

  Linear products_;
  std::vector<double> squares_;  // [V]
};

// One piece: its features, and how much of them is sound.
struct Piece {
  MediaInput features;
  int64_t rows = 0, real = 0;  // of the stem: those that become tokens; those that lie on sound
  int64_t number = 0;
};

}  // namespace

class SpeechTokenizer::Encoder {
 public:
  Encoder(const Builder& b, const TokenizerConfig& c)
      : config_(c),
        stem_(b, c.bands, c.width, c.stem),
        positions_(b, "embed_positions", c.positions, c.width),
        codebook_(b, c.vocab, c.width) {
    for (int64_t i = 0; i < c.layers; ++i)
      blocks_.emplace_back(
          b / "layers" / i, WhisperBlock::Sizes{c.width, c.heads, c.inner}, c.activation);
  }

  const TokenizerConfig& config() const { return config_; }

  std::vector<int32_t> operator()(Ctx& ctx, const Piece& piece, Probe* probe) const {
    Tensor h = stem_(ctx, piece.features).slice(0, 0, piece.rows);
    if (probe) probe->record("conv2", static_cast<int>(piece.number), h);
    std::vector<int32_t> places(static_cast<size_t>(piece.rows));
    std::iota(places.begin(), places.end(), 0);
    ops::add_(ctx, h, positions_(ctx, places));
    BlockSight sight(piece.rows, piece.real, config_.block);
    for (size_t i = 0; i < blocks_.size(); ++i) {
      blocks_[i](ctx, h, {}, sight.view());
      if (probe) probe->record("layer", static_cast<int>(i), h);
      if (static_cast<int64_t>(i) + 1 != config_.pool_behind) continue;
      h = pooled(ctx, h, config_.pool, config_.pool_kind);
      sight = BlockSight(
          h.dim(0), (piece.real + config_.pool - 1) / config_.pool, config_.block / config_.pool);
      if (probe) probe->record("pooled", static_cast<int>(piece.number), h);
    }
    const Codebook::Nearest found = codebook_.nearest(ctx, h);
    if (probe && !ctx.device.is_meta())
      probe->record("gaps", static_cast<int>(piece.number), Tensor::from(found.gaps, {h.dim(0)}));
    return found.codes;
  }

 private:
  TokenizerConfig config_;
  SoundStem stem_;
  Embedding positions_;
  Codebook codebook_;
  std::vector<WhisperBlock> blocks_;
};

namespace {

// The features are those of one whole stretch of sound, whatever its length.
MelShape whole_shape(MelShape pieces) {
  pieces.window = std::max(pieces.fft, pieces.hop) + 1;
  return pieces;
}

}  // namespace

SpeechTokenizer::SpeechTokenizer(const Builder& b, const MelShape& pieces)
    : pieces_(pieces), mel_(whole_shape(pieces)) {
  const TokenizerConfig c = TokenizerConfig::from(b.config());
  const int64_t step = kStemStride * c.pool * pieces.hop;
  if (pieces.bands != c.bands || step < mel_.shape().window)
    fail(ErrorCode::data_loss,
         "{}: mel frames of {} bands, {} samples each, {} of them to a token: expected {} bands, and "
         "tokens of {} samples at least",
         b.config().path(),
         pieces.bands,
         pieces.hop,
         kStemStride * c.pool,
         c.bands,
         mel_.shape().window);
  encoder_ = std::make_unique<Encoder>(b / "model.encoder", c);
}

SpeechTokenizer::~SpeechTokenizer() = default;

int64_t SpeechTokenizer::vocab() const {
  return encoder_->config().vocab;
}
int64_t SpeechTokenizer::rate_hz() const {
  return pieces_.rate_hz;
}
int64_t SpeechTokenizer::token_samples() const {
  return kStemStride * encoder_->config().pool * pieces_.hop;
}

std::vector<float> SpeechTokenizer::padded(std::span<const float> piece, int64_t pieces) const {
  const int64_t step = token_samples();
  const int64_t length = pieces > 1 ? pieces_.window : static_cast<int64_t>(piece.size());
  std::vector<float> out(piece.begin(), piece.end());
  out.resize(static_cast<size_t>((length + step - 1) / step * step));
  return out;
}

std::vector<int32_t> SpeechTokenizer::operator()(Ctx& ctx,
                                                 std::span<const float> samples,
                                                 Probe* probe) const {
  const auto count = static_cast<int64_t>(samples.size()), bands = pieces_.bands;
  if (count > kMostSeconds * pieces_.rate_hz)
    fail(ErrorCode::invalid_argument,
         "reference recording: {:.1f} seconds: a voice is taken from {} at most",
         static_cast<double>(count) / static_cast<double>(pieces_.rate_hz),
         kMostSeconds);
  const int64_t pieces = (count + pieces_.window - 1) / pieces_.window;
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < pieces; ++i) {
    const int64_t first = i * pieces_.window, length = std::min(count - first, pieces_.window);
    const int64_t made = (length + token_samples() - 1) / token_samples();
    Piece piece;
    piece.number = i;
    piece.features.kind = MediaKind::audio;
    piece.features.values = mel_.whole(
        padded(samples.subspan(static_cast<size_t>(first), static_cast<size_t>(length)), pieces));
    const auto frames = static_cast<int64_t>(piece.features.values.size()) / bands;
    if (probe)
      probe->record("input_features",
                    static_cast<int>(i),
                    Tensor::borrow(piece.features.values.data(), {frames, bands}, DType::f32));
    piece.rows = made * encoder_->config().pool;
    if (const int64_t most = encoder_->config().positions; piece.rows > most)
      fail(ErrorCode::invalid_argument,
           "reference recording: {:.1f} seconds of it are looked at together and become {} rows; "
           "this tokenizer has places for {} (max_source_positions)",
           static_cast<double>(length) / static_cast<double>(pieces_.rate_hz),
           piece.rows,
           most);
    piece.real = (length + kStemStride * pieces_.hop - 1) / (kStemStride * pieces_.hop);
    // A row sees at most one frame behind its own.
    piece.features.rows = std::min(frames, kStemStride * piece.rows + 1);
    piece.features.row_size = bands;
    piece.features.values.resize(static_cast<size_t>(piece.features.rows * bands));
    const std::vector<int32_t> own = (*encoder_)(ctx, piece, probe);
    tokens.insert(tokens.end(), own.begin(), own.end());
  }
  return tokens;
}

}  // namespace quern
