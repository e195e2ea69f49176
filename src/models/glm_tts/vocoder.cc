// SPDX-License-Identifier: Apache-2.0
#include "models/glm_tts/vocoder.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace quern {
namespace {

constexpr int64_t kUpRates[] = {8, 5, 3};  // then kHiftHop
constexpr int64_t kDilations[] = {1, 3, 5};
constexpr int64_t kBlocksPerStage = 3;
constexpr int64_t kStages = std::size(kUpRates);
constexpr int64_t kMostPitchConvs = 64;
constexpr float kSlope = 0.1f, kLastSlope = 0.01f;

static_assert(8 * 5 * 3 * kHiftHop == HiftVocoder::kSamplesPerFrame);

Ctx with_floats(const Ctx& ctx) {
  Ctx out = ctx;
  out.activation = Activation::f32;
  return out;
}

// Frames of the spectrum that become one of a stage.
int64_t source_stride(int64_t stage) {
  int64_t stride = 1;
  for (int64_t i = stage + 1; i < kStages; ++i) stride *= kUpRates[i];
  return stride;
}

std::vector<float> floats_of(const Builder& b, std::string_view name) {
  const Tensor values = b.vector(name, stored_shape(b, name).numel());
  return {values.span<float>().begin(), values.span<float>().end()};
}

HarmonicMix mix_of(const Builder& b) {
  HarmonicMix mix{floats_of(b, "weight"), b.vector("bias", 1).span<float>()[0]};
  if (mix.weights.empty() || mix.weights.size() > 1024)
    fail(ErrorCode::data_loss, "{}: {} harmonics", b.prefix(), mix.weights.size());
  return mix;
}

// Frame 1 once more in front of frame 0.
Tensor mirrored_front(Ctx& ctx, const Tensor& x) {
  Tensor y = ctx.empty({x.dim(0) + 1, x.dim(1)});
  ops::copy_rows_(ctx, y, 0, x.slice(0, 1, 2));
  ops::copy_rows_(ctx, y, 1, x);
  return y;
}

bool has_weight(const Builder& b) {
  return b.has("weight") || b.has("weight_v") || b.has("parametrizations.weight.original1");
}

}  // namespace

HiftVocoder::ResidualBlock::Waves::Waves(const Builder& b, int64_t channels)
    : alpha(b.vector("alpha", channels)), inverse(Tensor::empty({channels}, DType::f32)) {
  std::ranges::transform(alpha.span<float>(), inverse.data<float>(), [](float value) {
    return 1.0f / (value + 1e-9f);
  });
}

HiftVocoder::ResidualBlock::Pair::Pair(const Builder& b, int64_t index, int64_t dilation)
    : first(b / "convs1" / index, {.dilation = dilation}),
      second(b / "convs2" / index),
      first_waves(b / "activations1" / index, first.inputs()),
      second_waves(b / "activations2" / index, second.inputs()) {
  if (first.inputs() != second.channels() || first.channels() != second.inputs())
    fail(ErrorCode::data_loss,
         "{}: convolutions {} of {} to {} and {} to {} channels",
         b.prefix(),
         index,
         first.inputs(),
         first.channels(),
         second.inputs(),
         second.channels());
}

HiftVocoder::ResidualBlock::ResidualBlock(const Builder& b) {
  for (size_t i = 0; i < std::size(kDilations); ++i)
    pairs_.emplace_back(b, static_cast<int64_t>(i), kDilations[i]);
}

Tensor HiftVocoder::ResidualBlock::operator()(Ctx& ctx, const Tensor& x) const {
  Tensor sum = x;
  for (const Pair& pair : pairs_) {
    Tensor y = pair.first(ctx, pair.first_waves(ctx, sum));
    y = pair.second(ctx, pair.second_waves(ctx, y));
    ops::add_(ctx, y, sum);
    sum = y;
  }
  return sum;
}

HiftVocoder::Stage::Stage(const Builder& b, int64_t index)
    : up(b / "ups" / index, kUpRates[index]),
      source_down(b / "source_downs" / index,
                  {.stride = source_stride(index), .padding = source_stride(index) / 2}),
      source_block(b / "source_resblocks" / index) {
  for (int64_t i = 0; i < kBlocksPerStage; ++i)
    blocks.emplace_back(b / "resblocks" / (index * kBlocksPerStage + i));
  const int64_t channels = up.channels(), stride = source_stride(index);
  bool fits = source_down.channels() == channels && source_block.channels() == channels &&
              source_down.inputs() == 2 * kHiftBins &&
              source_down.taps().count == (stride == 1 ? 1 : 2 * stride);
  for (const ResidualBlock& block : blocks) fits = fits && block.channels() == channels;
  if (!fits)
    fail(ErrorCode::data_loss,
         "ups.{}, source_downs.{} and their blocks do not fit each other: {} channels",
         index,
         index,
         channels);
}

HiftVocoder::HiftVocoder(const Builder& b) : HiftVocoder(b, with_floats(b.ctx())) {}

HiftVocoder::HiftVocoder(const Builder& root, const Ctx& exact)
    : checkpoint_(root.checkpoint()),
      conv_pre_(root.on(exact) / "conv_pre"),
      conv_post_(root.on(exact) / "conv_post"),
      mix_(mix_of(root / "m_source.l_linear")) {
  const Builder b = root.on(exact), predictor = b / "f0_predictor";
  for (int64_t i = 0; i < kStages; ++i) stages_.emplace_back(b, i);
  for (int64_t i = 0; i < kMostPitchConvs && has_weight(predictor / "condnet" / (2 * i)); ++i)
    pitch_convs_.emplace_back(predictor / "condnet" / (2 * i));
  if (pitch_convs_.empty())
    fail(ErrorCode::not_found, "f0_predictor.condnet: no convolutions");
  pitch_out_ = predictor.whole({"classifier"}, 1, pitch_convs_.back().channels(), Bias::present);
  check_channels(b.prefix());
}

// Each layer takes what the one before it gives.
void HiftVocoder::check_channels(const std::string& where) const {
  const auto require = [&](std::string_view name, int64_t takes, int64_t given) {
    if (takes != given)
      fail(ErrorCode::data_loss,
           "{}{}: takes {} channels, the layer before it gives {}",
           where.empty() ? "" : where + ".",
           name,
           takes,
           given);
  };
  int64_t channels = conv_pre_.channels();
  for (const Stage& stage : stages_) {
    require("ups", stage.up.inputs(), channels);
    channels = stage.up.channels();
  }
  require("conv_post", conv_post_.inputs(), channels);
  require("the spectrum", 2 * kHiftBins, conv_post_.channels());
  channels = bands();
  for (const TimeConv& conv : pitch_convs_) {
    require("f0_predictor.condnet", conv.inputs(), channels);
    channels = conv.channels();
  }
}

void HiftVocoder::check(const Tensor& mel) const {
  if (mel.rank() != 2 || mel.dim(1) != bands() || mel.dtype() != DType::f32 ||
      !mel.is_contiguous())
    fail(ErrorCode::invalid_argument,
         "mel frames {}: expected [T, {}] of float32",
         mel.shape().text(),
         bands());
  if (mel.dim(0) > kMostVocoderFrames)
    fail(ErrorCode::invalid_argument,
         "{} mel frames: expected {} at most; cut the recording into pieces",
         mel.dim(0),
         kMostVocoderFrames);
}

std::vector<float> HiftVocoder::pitch(Ctx& ctx, const Tensor& mel, Probe* probe) const {
  check(mel);
  if (mel.dim(0) == 0) return {};
  Ctx exact = with_floats(ctx);
  Tensor x = mel;
  for (const TimeConv& conv : pitch_convs_) {
    x = conv(exact, x);
    ops::elu_(exact, x);
  }
  if (probe) probe->record("condnet", 0, x);
  const Tensor hz = pitch_out_(exact, x);
  std::vector<float> out(static_cast<size_t>(mel.dim(0)));
  std::ranges::transform(hz.span<float>(), out.begin(), [](float value) { return std::abs(value); });
  return out;
}

std::vector<float> HiftVocoder::source(Ctx& ctx,
                                       std::span<const float> pitch,
                                       const VocoderOptions& options) const {
  const size_t samples = pitch.size() * kSamplesPerFrame;
  const auto& [noise, seed, start] = options;
  if (!noise.empty() && (seed || noise.size() != samples * mix_.weights.size()))
    fail(ErrorCode::invalid_argument,
         "{} values of noise{}: expected {} for {} samples of {} harmonics, or a seed",
         noise.size(),
         seed ? " and a seed" : "",
         samples * mix_.weights.size(),
         samples,
         harmonics());
  if (start.size() > samples)
    fail(ErrorCode::invalid_argument,
         "a source that begins with {} samples: expected {} at most",
         start.size(),
         samples);
  std::vector<float> out(start.begin(), start.end());
  if (start.size() == samples) return out;
  out = harmonic_source(ctx, pitch, mix_, {noise, seed}, kSamplesPerFrame);
  std::ranges::copy(start, out.begin());
  return out;
}

std::vector<float> HiftVocoder::decode(Ctx& ctx,
                                       const Tensor& mel,
                                       std::span<const float> source,
                                       Probe* probe) const {
  check(mel);
  if (static_cast<int64_t>(source.size()) != mel.dim(0) * kSamplesPerFrame)
    fail(ErrorCode::invalid_argument,
         "a source of {} samples: expected {} for {} mel frames",
         source.size(),
         mel.dim(0) * kSamplesPerFrame,
         mel.dim(0));
  if (mel.dim(0) == 0) return {};
  const auto show = [&](std::string_view name, int64_t layer, const Tensor& value) {
    if (probe) probe->record(name, static_cast<int>(layer), value);
  };
  Ctx exact = with_floats(ctx);
  const Tensor spectrum = short_spectrum(exact, source);
  show("source_stft", 0, spectrum);
  Tensor x = conv_pre_(exact, mel);
  show("conv_pre", 0, x);
  for (int64_t i = 0; i < kStages; ++i) {
    const Stage& stage = stages_[static_cast<size_t>(i)];
    ops::leaky_relu_(exact, x, kSlope);
    x = stage.up(exact, x);
    show("up", i, x);
    if (i + 1 == kStages) x = mirrored_front(exact, x);
    const Tensor from_source = stage.source_block(exact, stage.source_down(exact, spectrum));
    show("source_res", i, from_source);
    ops::add_(exact, x, from_source);
    Tensor sum;
    for (int64_t j = 0; j < kBlocksPerStage; ++j) {
      const Tensor y = stage.blocks[static_cast<size_t>(j)](exact, x);
      show("res", i * kBlocksPerStage + j, y);
      if (j == 0)
        sum = y;
      else
        ops::add_(exact, sum, y);
    }
    ops::scale_(exact, sum, 1.0f / kBlocksPerStage);
    x = sum;
  }
  ops::leaky_relu_(exact, x, kLastSlope);
  x = conv_post_(exact, x);
  show("conv_post", 0, x);
  return wave_of(exact, x);
}

VocoderSound HiftVocoder::operator()(Ctx& ctx,
                                     const Tensor& mel,
                                     const VocoderOptions& options,
                                     Probe* probe) const {
  VocoderSound out;
  out.source = source(ctx, pitch(ctx, mel, probe), options);
  out.wave = decode(ctx, mel, out.source, probe);
  return out;
}

}  // namespace quern
