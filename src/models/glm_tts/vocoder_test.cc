// SPDX-License-Identifier: Apache-2.0
// What holds of the vocoder beside its numbers, which the golden case has (`quern verify`).
#include "models/glm_tts/vocoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>

#include "base/error_of.h"
#include "base/random.h"
#include "nn/owned_ctx.h"

namespace quern {
namespace {

constexpr int64_t kPerFrame = HiftVocoder::kSamplesPerFrame;

class Vocoding : public ::testing::Test {
 protected:
  static Tensor mel(int64_t frames) {
    Tensor out = Tensor::empty({frames, 80}, DType::f32);
    for (int64_t i = 0; i < out.numel(); ++i)
      out.data<float>()[i] = static_cast<float>(
          2 * normal_deviate(1, 0, static_cast<uint64_t>(i)) - 5);
    return out;
  }

  OwnedCtx ctx_{{.threads = 2, .isa = probe_topology().isa}};
  const HiftVocoder vocoder_{Builder(
      open_checkpoint(QUERN_SOURCE_DIR "/tests/golden/glm_tts_vocoder/hift/hift.safetensors"),
      ctx_.ctx())};
};

TEST_F(Vocoding, ThreadsAndActivationsDoNotShow) {
  const Tensor frames = mel(9);
  const VocoderSound two = vocoder_(ctx_.ctx(), frames, {.seed = 3});
  EXPECT_EQ(static_cast<int64_t>(two.wave.size()), 9 * kPerFrame);
  for (const int threads : {1, 3}) {
    OwnedCtx other({.threads = threads,
                    .isa = probe_topology().isa,
                    .activation = threads == 1 ? Activation::bf16 : Activation::f32});
    const VocoderSound sound = vocoder_(other.ctx(), frames, {.seed = 3});
    EXPECT_EQ(sound.wave, two.wave) << threads;
    EXPECT_EQ(sound.source, two.source) << threads;
  }
}

TEST_F(Vocoding, ASeedIsNoiseThatOneCouldGive) {
  const Tensor frames = mel(3);
  const VocoderSound none = vocoder_(ctx_.ctx(), frames),
                     seeded = vocoder_(ctx_.ctx(), frames, {.seed = 3}),
                     other = vocoder_(ctx_.ctx(), frames, {.seed = 4});
  EXPECT_NE(none.source, seeded.source);
  EXPECT_NE(other.source, seeded.source);
  const std::vector<float> silent(static_cast<size_t>(3 * kPerFrame * vocoder_.harmonics()));
  EXPECT_EQ(vocoder_(ctx_.ctx(), frames, {.noise = silent}).wave, none.wave);
}

TEST_F(Vocoding, AnOlderSourceTakesTheStart) {
  const VocoderSound first = vocoder_(ctx_.ctx(), mel(4), {.seed = 3});
  const VocoderSound next =
      vocoder_(ctx_.ctx(), mel(7), {.seed = 3, .source_start = first.source});
  EXPECT_TRUE(std::ranges::equal(std::span(next.source).first(first.source.size()), first.source));
  const std::vector<float> given = vocoder_.decode(ctx_.ctx(), mel(4), first.source);
  EXPECT_EQ(given, first.wave);
}

TEST_F(Vocoding, NoFramesAreNoSound) {
  EXPECT_TRUE(vocoder_(ctx_.ctx(), mel(0)).wave.empty());
  EXPECT_EQ(static_cast<int64_t>(vocoder_(ctx_.ctx(), mel(1)).wave.size()), kPerFrame);
}

TEST_F(Vocoding, WhatDoesNotFitIsRefused) {
  const auto refused = [&](const Tensor& frames, const VocoderOptions& options) {
    return error_of([&] { vocoder_(ctx_.ctx(), frames, options); });
  };
  const std::vector<float> some(5), many(static_cast<size_t>(2 * kPerFrame + 1));
  EXPECT_THAT(refused(Tensor::zeros({2, 79}, DType::f32), {}), testing::HasSubstr("[T, 80]"));
  EXPECT_THAT(refused(Tensor::zeros({20'001, 80}, DType::f32), {}),
              testing::HasSubstr("20000 at most"));
  EXPECT_THAT(refused(mel(2), {.noise = some}), testing::HasSubstr("5 values of noise"));
  EXPECT_THAT(refused(mel(2), {.source_start = many}), testing::HasSubstr("961 samples"));
  EXPECT_THAT(error_of([&] { vocoder_.decode(ctx_.ctx(), mel(2), some); }),
              testing::HasSubstr("a source of 5 samples"));
}

// A steady pitch is a steady sine: no seam between frames.
TEST(HarmonicSource, ASteadyPitchIsASine) {
  OwnedCtx ctx({.threads = 2});
  const std::vector<float> hz(6, 250.0f);
  const auto source = harmonic_source(ctx.ctx(), hz, {{0.0f, 1.0f}, 0.0f}, {}, 480);
  // Past the middle of the first frame: before it the phase stands still.
  for (size_t s = 240; s + 240 < source.size(); ++s) {
    const double frames = (static_cast<double>(s) + 0.5) / 480 + 0.5;
    const double turns = frames * 480 * 500 / 24000;
    EXPECT_NEAR(source[s], std::tanh(0.1 * std::sin(2 * std::numbers::pi * turns)), 1e-4) << s;
  }
}

TEST(HarmonicSource, BelowTenHertzIsNoiseAlone) {
  OwnedCtx ctx({.threads = 1});
  const std::vector<float> hz{9.5f, 9.5f}, noise(960, 3.0f);
  for (const float value : harmonic_source(ctx.ctx(), hz, {{1.0f}, 0.0f}, {}, 480))
    EXPECT_EQ(value, 0);
  for (const float value : harmonic_source(ctx.ctx(), hz, {{1.0f}, 0.0f}, {.given = noise}, 480))
    EXPECT_NEAR(value, std::tanh(0.1), 1e-6);
}

double window_at(int64_t n) {
  return 0.5 - 0.5 * std::cos(2 * std::numbers::pi * static_cast<double>(n) / 16);
}
std::complex<double> turn_of(int64_t bin, int64_t n) {
  return std::polar(1.0, 2 * std::numbers::pi * static_cast<double>(bin * n) / 16);
}

TEST(ShortSpectrum, AgreesWithItsDefinition) {
  OwnedCtx ctx({.threads = 2});
  constexpr int64_t kSamples = 40;
  std::vector<float> signal(kSamples);
  for (size_t i = 0; i < signal.size(); ++i)
    signal[i] = static_cast<float>(normal_deviate(5, 0, i));
  const Tensor spectrum = short_spectrum(ctx.ctx(), signal);
  ASSERT_EQ(spectrum.shape(), Shape({11, 18}));
  for (int64_t f = 0; f < 11; ++f)
    for (int64_t bin = 0; bin < 9; ++bin) {
      std::complex<double> sum = 0;
      for (int64_t n = 0; n < 16; ++n) {
        int64_t at = 4 * f + n - 8;
        if (at < 0) at = -at;
        if (at >= kSamples) at = 2 * (kSamples - 1) - at;
        sum += window_at(n) * signal[static_cast<size_t>(at)] * std::conj(turn_of(bin, n));
      }
      EXPECT_NEAR(spectrum.data<float>()[f * 18 + bin], sum.real(), 1e-5);
      EXPECT_NEAR(spectrum.data<float>()[f * 18 + 9 + bin], sum.imag(), 1e-5);
    }
}

TEST(ShortSpectrum, TheInverseAddsWhatOverlaps) {
  OwnedCtx ctx({.threads = 2});
  constexpr int64_t kFrames = 9;
  Tensor rows = Tensor::empty({kFrames, 18}, DType::f32);
  for (int64_t i = 0; i < rows.numel(); ++i)
    rows.data<float>()[i] = static_cast<float>(normal_deviate(6, 0, static_cast<uint64_t>(i)) - 3);
  rows.data<float>()[4 * 18] = 5;  // a magnitude above 100
  std::vector<double> sums(4 * kFrames + 16), weights(sums.size());
  for (int64_t f = 0; f < kFrames; ++f)
    for (int64_t n = 0; n < 16; ++n) {
      std::complex<double> value = 0;
      for (int64_t bin = 0; bin < 16; ++bin) {  // the upper half mirrors the lower
        const int64_t own = bin <= 8 ? bin : 16 - bin;
        const auto c = std::polar(
            std::min(100.0, std::exp(double{rows.data<float>()[f * 18 + own]})),
            std::sin(double{rows.data<float>()[f * 18 + 9 + own]}));
        value += (bin <= 8 ? c : std::conj(c)) * turn_of(bin, n) / 16.0;
      }
      sums[static_cast<size_t>(4 * f + n)] += value.real() * window_at(n);
      weights[static_cast<size_t>(4 * f + n)] += window_at(n) * window_at(n);
    }
  const std::vector<float> wave = wave_of(ctx.ctx(), rows);
  ASSERT_EQ(wave.size(), 32u);
  for (size_t s = 0; s < wave.size(); ++s)
    EXPECT_NEAR(wave[s], std::clamp(sums[s + 8] / weights[s + 8], -0.99, 0.99), 2e-5) << s;
  EXPECT_EQ(*std::ranges::max_element(wave), 0.99f);
}

}  // namespace
}  // namespace quern
