// SPDX-License-Identifier: Apache-2.0
// The features of a voice, mel frames and filter bank, against their definitions.
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <numbers>

#include "base/error.h"
#include "media/audio/encoded_sound.h"
#include "media/audio/kaldi_fbank.h"
#include "media/audio/magnitude_mel.h"

namespace quern {
namespace {

constexpr double kTurn = 2 * std::numbers::pi;

// From low to high.
std::vector<float> chirp(int count) {
  std::vector<float> out;
  for (int i = 0; i < count; ++i)
    out.push_back(0.4f * std::sin(static_cast<float>(i * i) * 1.5f / static_cast<float>(count)) +
                  0.05f);
  return out;
}

// The energy of line k of a spectrum of `points`.
double energy(std::span<const double> frame, int64_t points, int64_t k) {
  std::complex<double> sum = 0;
  for (size_t n = 0; n < frame.size(); ++n)
    sum += frame[n] * std::polar(1.0,
                                 -kTurn * static_cast<double>(k) * static_cast<double>(n) /
                                     static_cast<double>(points));
  return std::norm(sum);
}

TEST(Fourier, IsTheTransform) {
  for (const int64_t size : {1, 2, 7, 12, 30, 49, 64, 101, 400, 1920}) {
    const Fourier fourier(size);
    std::vector<double> frame;
    for (int64_t n = 0; n < size; ++n) frame.push_back(std::sin(static_cast<double>(n * n)));
    const std::vector<double> got = fourier.energies(frame);
    ASSERT_EQ(static_cast<int64_t>(got.size()), size / 2 + 1);
    for (int64_t k = 0; k<fourier.lines(); k += size> 400 ? 37 : 1)
      ASSERT_NEAR(got[static_cast<size_t>(k)],
                  energy(frame, size, k),
                  1e-9 * static_cast<double>(size * size))
          << size << " line " << k;
  }
}

TEST(MagnitudeMel, CountsFramesAndMirrors) {
  const MagnitudeMel mel({.rate_hz = 24'000, .fft = 64, .hop = 16, .bands = 5});
  const std::vector<float> samples = chirp(100);
  const std::vector<float> got = mel(samples);
  EXPECT_EQ(got.size(), 6u * 5);
  // The same of the mirrored recording by hand: no margin is left to mirror where fft is hop.
  std::vector<float> padded;
  for (int i = 24; i > 0; --i) padded.push_back(samples[static_cast<size_t>(i)]);
  padded.insert(padded.end(), samples.begin(), samples.end());
  for (int i = 98; i > 98 - 24; --i) padded.push_back(samples[static_cast<size_t>(i)]);
  const MagnitudeMel whole({.rate_hz = 24'000, .fft = 64, .hop = 64, .bands = 5});
  for (const size_t frame : {0, 1, 5}) {
    const std::vector<float> one = whole(std::span(padded).subspan(frame * 16, 64));
    ASSERT_EQ(one.size(), 5u);
    for (size_t b = 0; b < 5; ++b) EXPECT_FLOAT_EQ(got[frame * 5 + b], one[b]) << frame;
  }
}

TEST(MagnitudeMel, IsItsDefinition) {
  constexpr int64_t kFft = 96;
  const MagnitudeMel mel({.rate_hz = 24'000, .fft = kFft, .hop = kFft, .bands = 3});
  const std::vector<float> samples = chirp(kFft);
  const std::vector<float> got = mel(samples);
  std::vector<double> frame;
  for (int64_t n = 0; n < kFft; ++n)
    frame.push_back(samples[static_cast<size_t>(n)] *
                    (0.5 - 0.5 * std::cos(kTurn * static_cast<double>(n) / kFft)));
  const double step = (15 + std::log(8.0) * 27 / std::log(6.4)) / 4;
  const auto hz = [](double mels) {
    return mels < 15 ? mels * 1000 / 15 : 1000 * std::exp((mels - 15) * std::log(6.4) / 27);
  };
  for (int b = 0; b < 3; ++b) {
    const double low = hz(step * b), centre = hz(step * (b + 1)), high = hz(step * (b + 2));
    double sum = 0;
    for (int64_t k = 0; k <= kFft / 2; ++k) {
      const double at = 250.0 * static_cast<double>(k);
      const double weight = std::min((at - low) / (centre - low), (high - at) / (high - centre));
      sum += std::max(0.0, weight) * 2 / (high - low) * std::sqrt(energy(frame, kFft, k) + 1e-9);
    }
    EXPECT_NEAR(got[static_cast<size_t>(b)], std::log(sum), 1e-5) << b;
  }
}

TEST(MagnitudeMel, SilenceIsTheFloorAndShortIsRefused) {
  const MagnitudeMel mel(MagnitudeMelShape{});
  const std::vector<float> silence(960, 0.0f);
  for (const float x : mel(silence)) EXPECT_FLOAT_EQ(x, std::log(1e-5f));
  EXPECT_EQ(mel(std::span(silence).first(721)).size(), 80u);
  EXPECT_THROW(mel(std::span(silence).first(720)), Error);
  EXPECT_THROW(mel({}), Error);
  for (const MagnitudeMelShape& shape : {MagnitudeMelShape{.fft = 0},
                                         MagnitudeMelShape{.fft = 1 << 20},
                                         MagnitudeMelShape{.hop = 0},
                                         MagnitudeMelShape{.hop = 2000},
                                         MagnitudeMelShape{.hop = 479},
                                         MagnitudeMelShape{.bands = 0},
                                         MagnitudeMelShape{.rate_hz = 0}})
    EXPECT_THROW(MagnitudeMel{shape}, Error);
}

TEST(MeanFreeFbank, IsItsDefinition) {
  const std::vector<float> samples = chirp(400 + 2 * 160 + 159);
  const std::vector<float> got = mean_free_fbank(samples);
  ASSERT_EQ(got.size(), 3u * 80);
  const auto mels = [](double hz) { return 1127 * std::log(1 + hz / 700); };
  const double step = (mels(8000) - mels(20)) / 81;
  std::vector<double> logs;
  for (size_t f = 0; f < 3; ++f) {
    std::vector<double> frame(samples.begin() + static_cast<int64_t>(f) * 160,
                              samples.begin() + static_cast<int64_t>(f) * 160 + 400);
    double mean = 0;
    for (const double x : frame) mean += x / 400;
    for (double& x : frame) x -= mean;
    for (size_t n = 399; n > 0; --n) frame[n] -= 0.97 * frame[n - 1];
    frame[0] -= 0.97 * frame[0];
    for (size_t n = 0; n < 400; ++n)
      frame[n] *= std::pow(0.5 - 0.5 * std::cos(kTurn * static_cast<double>(n) / 399), 0.85);
    for (int b = 0; b < 80; ++b) {
      double sum = 0;
      for (int64_t k = 0; k < 256; ++k) {
        const double at = (mels(static_cast<double>(k) * 31.25) - mels(20)) / step - b;
        const double weight = at < 1 ? at : 2 - at;
        if (weight > 0) sum += weight * energy(frame, 512, k);
      }
      logs.push_back(std::log(std::max(sum, 0x1p-23)));
    }
  }
  for (size_t b = 0; b < 80; ++b) {
    const double mean = (logs[b] + logs[80 + b] + logs[160 + b]) / 3;
    for (size_t f = 0; f < 3; ++f)
      ASSERT_NEAR(got[f * 80 + b], logs[f * 80 + b] - mean, 1e-5) << f << " " << b;
  }
}

TEST(MeanFreeFbank, EveryBandHasNoMean) {
  const std::vector<float> got = mean_free_fbank(tone(16'000, 0.5));
  ASSERT_EQ(got.size() % 80, 0u);
  for (size_t b = 0; b < 80; ++b) {
    double sum = 0;
    for (size_t i = b; i < got.size(); i += 80) sum += got[i];
    EXPECT_NEAR(sum, 0, 1e-3);
  }
  EXPECT_EQ(mean_free_fbank(chirp(400)), std::vector<float>(80, 0.0f));
  EXPECT_THROW(mean_free_fbank(chirp(399)), Error);
}

}  // namespace
}  // namespace quern
