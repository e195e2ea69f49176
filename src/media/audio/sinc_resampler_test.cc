// SPDX-License-Identifier: Apache-2.0
// The windowed sinc against its definition, and against what a tone becomes; what a voice's
// recording becomes by it.
#include "media/audio/sinc_resampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <numeric>

#include "base/error.h"
#include "base/file.h"
#include "media/audio/encoded_sound.h"
#include "media/audio/reference_sound.h"

namespace quern {
namespace {

// Every output as the sum over all inputs, without phases: the window is in time, six zero
// crossings wide.
std::vector<float> plain(std::span<const float> samples, int64_t from, int64_t to) {
  const double band = 0.99 * static_cast<double>(std::min(from, to)) / static_cast<double>(from);
  std::vector<float> out;
  const auto count = static_cast<int64_t>(samples.size());
  for (int64_t n = 0; n * from < count * to; ++n) {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) {
      const double t =
          band * (static_cast<double>(i) - static_cast<double>(n * from) / static_cast<double>(to));
      if (std::abs(t) >= 6) continue;
      const double x = std::numbers::pi * t, window = std::cos(x / 12);
      sum +=
          samples[static_cast<size_t>(i)] * band * (t == 0 ? 1 : std::sin(x) / x) * window * window;
    }
    out.push_back(static_cast<float>(sum));
  }
  return out;
}

TEST(SincResample, IsItsDefinition) {
  std::vector<float> samples;
  for (int i = 0; i < 301; ++i) samples.push_back(std::sin(static_cast<float>(i * i) * 0.003f));
  const int64_t rates[][2] = {{24'000, 16'000},
                              {8'000, 16'000},
                              {44'100, 24'000},
                              {22'050, 16'000},
                              {1'000, 48'000},
                              {16'001, 16'000},
                              {384'000, 16'000}};
  for (const auto& [from, to] : rates) {
    const std::vector<float> got = sinc_resample(samples, from, to),
                             expected = plain(samples, from, to);
    ASSERT_EQ(got.size(), expected.size()) << from << " to " << to;
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_NEAR(got[i], expected[i], 2e-6) << from << " to " << to << " at " << i;
  }
}

TEST(SincResample, AToneStaysATone) {
  for (const int64_t from : {22'050, 48'000}) {
    const std::vector<float> got = sinc_resample(tone(from, 0.5), from, 16'000),
                             expected = tone(16'000, 0.5);
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 100; i + 100 < got.size(); ++i) ASSERT_NEAR(got[i], expected[i], 2e-3) << i;
  }
}

TEST(SincResample, EqualRatesAndNothing) {
  const std::vector<float> samples = tone(16'000, 0.01);
  EXPECT_EQ(sinc_resample(samples, 16'000, 16'000), samples);
  EXPECT_TRUE(sinc_resample({}, 44'100, 16'000).empty());
  EXPECT_EQ(sinc_resample(std::vector<float>{1}, 48'000, 16'000).size(), 1u);
}

ReferenceSound reference(const std::string& file) {
  InProcessDecoder decoder;
  return reference_sound(decoder, std::as_bytes(std::span(file)), 24'000);
}

TEST(ReferenceSound, OneChannelForTokensAndTheMeanForTheRest) {
  const std::string file =
      read_file(QUERN_SOURCE_DIR "/tests/golden/glm_tts_frontend/inputs/b.wav");
  const ReferenceSound sound = reference(file);
  const auto bytes = std::as_bytes(std::span(file));
  const auto whole = [&](SoundChannel channel) {
    return decode_sound(bytes, {SoundForm::kFileRate, channel});
  };
  const Sound first = whole(SoundChannel::first), mean = whole(SoundChannel::mean);
  ASSERT_NE(first.samples, mean.samples);
  EXPECT_EQ(sound.tokenized, sinc_resample(first.samples, first.rate_hz, 16'000));
  EXPECT_EQ(sound.spoken, sinc_resample(mean.samples, mean.rate_hz, 16'000));
  EXPECT_EQ(sound.played, sinc_resample(mean.samples, mean.rate_hz, 24'000));
  EXPECT_DOUBLE_EQ(sound.seconds, mean.seconds());
}

TEST(ReferenceSound, AMinuteAtMost) {
  const auto silence = [](double seconds) {
    const std::vector<float> samples(static_cast<size_t>(8'000 * seconds), 0.0f);
    return encoded(samples, 8'000, 1, SF_FORMAT_FLAC | SF_FORMAT_PCM_16);
  };
  EXPECT_EQ(reference(silence(60)).tokenized.size(), 960'000u);
  try {
    reference(silence(60.01));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::exhausted);
    EXPECT_THAT(error.what(),
                testing::AllOf(testing::HasSubstr("reference recording of a voice"),
                               testing::HasSubstr("longer than 60 seconds")));
  }
}

}  // namespace
}  // namespace quern
