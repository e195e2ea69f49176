// SPDX-License-Identifier: Apache-2.0
// Mel features against the reference's, and against their definition.
#include "media/audio/log_mel.h"

#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <numbers>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "media/audio/encoded_sound.h"
#include "media/audio/sound.h"

namespace quern {
namespace {

constexpr MelShape kShort{.fft = 400, .hop = 160, .bands = 128, .window = 3200};

TEST(LogMel, CountsFrames) {
  const LogMel mel(kShort);
  EXPECT_EQ(kShort.frames(), 20);
  EXPECT_EQ(mel.frames_of(0), 0);
  EXPECT_EQ(mel.frames_of(1), 1);
  EXPECT_EQ(mel.frames_of(160), 1);
  EXPECT_EQ(mel.frames_of(161), 2);
  EXPECT_EQ(mel.frames_of(3200), 20);
}

TEST(LogMel, SilenceIsTheFloor) {
  const LogMel mel(kShort);
  for (const float x : mel({})) EXPECT_FLOAT_EQ(x, (-10.0f + 4) / 4);
}

// A tone is loudest in the bands around it, and 8 below its peak nothing is told apart.
TEST(LogMel, AToneStandsInItsBand) {
  const LogMel mel(kShort);
  const std::vector<float> features = mel(tone(16'000, 0.2));
  for (int64_t frame = 3; frame < 17; ++frame) {
    const auto row = std::span(features).subspan(static_cast<size_t>(frame * 128), 128);
    const auto loudest = std::ranges::max_element(row) - row.begin();
    // 440 Hz are 6.6 of 45.25 mels.
    EXPECT_NEAR(static_cast<double>(loudest), 440 * 15.0 / 1000 / 45.245640471924965 * 129 - 1, 1);
  }
  const auto [least, most] = std::ranges::minmax_element(features);
  EXPECT_NEAR(*most - *least, 2, 1e-6);
}

// The spectrum by its definition, for an odd and an even size.
TEST(LogMel, FoldedSumsAreTheTransform) {
  for (const int64_t fft : {31, 64}) {
    const MelShape shape{.fft = fft, .hop = 16, .bands = 4, .window = 160};
    const LogMel mel(shape);
    std::vector<float> samples;
    for (int i = 0; i < 160; ++i) samples.push_back(std::sin(static_cast<float>(i * i) * 0.01f));
    const std::vector<float> features = mel(samples);
    // Frame 5 lies inside: no mirroring. Its energy over all bands but the filters' shapes.
    const int64_t first = 5 * 16 - fft / 2;
    std::vector<double> power;
    for (int64_t k = 0; k <= fft / 2; ++k) {
      std::complex<double> sum = 0;
      for (int64_t n = 0; n < fft; ++n) {
        const double angle =
            2 * std::numbers::pi * static_cast<double>(n) / static_cast<double>(fft);
        sum += samples[static_cast<size_t>(first + n)] * (0.5 - 0.5 * std::cos(angle)) *
               std::polar(1.0, -angle * static_cast<double>(k));
      }
      power.push_back(std::norm(sum));
    }
    // Slaney's edges of four bands below 8000 Hz, in hertz.
    const double step = (15 + std::log(8.0) * 27 / std::log(6.4)) / 5;
    const auto hz = [](double mels) {
      return mels < 15 ? mels * 1000 / 15 : 1000 * std::exp((mels - 15) * std::log(6.4) / 27);
    };
    for (int b = 0; b < 4; ++b) {
      const double low = hz(step * b), centre = hz(step * (b + 1)), high = hz(step * (b + 2));
      double sum = 0;
      for (size_t k = 0; k < power.size(); ++k) {
        const double at = 8000 * static_cast<double>(k) / static_cast<double>(power.size() - 1);
        sum += std::max(0.0, std::min((at - low) / (centre - low), (high - at) / (high - centre))) *
               2 / (high - low) * power[k];
      }
      EXPECT_NEAR(features[static_cast<size_t>(5 * 4 + b)], (std::log10(sum) + 4) / 4, 1e-5)
          << fft << ", band " << b;
    }
  }
}

TEST(LogMel, ImpossibleSizesAreRefused) {
  for (const MelShape& shape : {MelShape{.fft = 0},
                                MelShape{.fft = 1 << 30},
                                MelShape{.hop = 0},
                                MelShape{.hop = 500},
                                MelShape{.bands = 0},
                                MelShape{.bands = 1 << 20},
                                MelShape{.window = 400},
                                MelShape{.window = int64_t{1} << 40},
                                MelShape{.rate_hz = 0}})
    EXPECT_THROW(LogMel{shape}, Error);
}

}  // namespace
}  // namespace quern
