// SPDX-License-Identifier: Apache-2.0
#include "media/audio/sound_writer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "media/audio/encoded_sound.h"
#include "media/audio/sound.h"

namespace quern {
namespace {

// Written in pieces of so many samples.
std::string written(SpeechFormat format, const std::vector<float>& samples, size_t piece) {
  SoundWriter writer(format, 24'000);
  std::string out;
  for (size_t at = 0; at < samples.size(); at += piece)
    out += writer.add(std::span(samples).subspan(at, std::min(piece, samples.size() - at)));
  return out + writer.finish();
}

Sound read_back(const std::string& bytes) {
  return decode_sound(std::as_bytes(std::span(bytes)), 24'000);
}

double power(const std::vector<float>& samples) {
  double sum = 0;
  for (const float s : samples) sum += static_cast<double>(s) * s;
  return sum / static_cast<double>(samples.size());
}

TEST(SoundWriter, WhatIsWrittenIsReadBack) {
  const std::vector<float> samples = tone(24'000, 1.3);
  for (const char* name : {"wav", "flac", "opus", "mp3"}) {
    const Sound back = read_back(written(*speech_format_of(name), samples, 7'777));
    EXPECT_EQ(back.rate_hz, 24'000) << name;
    // Opus and MP3 fill their last frame up; an MP3 begins with a silent one.
    EXPECT_NEAR(static_cast<double>(back.samples.size()), 31'200, 3'000) << name;
    EXPECT_NEAR(power(back.samples), power(samples), 0.02) << name;
  }
}

TEST(SoundWriter, LosslessFormatsKeepEverySample) {
  const std::vector<float> samples = tone(24'000, 0.2);
  for (const SpeechFormat format : {SpeechFormat::wav, SpeechFormat::flac}) {
    const Sound back = read_back(written(format, samples, 100));
    ASSERT_EQ(back.samples.size(), samples.size());
    for (size_t i = 0; i < samples.size(); ++i)
      ASSERT_NEAR(back.samples[i], samples[i], 1.0 / 32'000) << i;
  }
}

TEST(SoundWriter, PiecesMakeNoDifference) {
  const std::vector<float> samples = tone(24'000, 0.3);
  for (const SpeechFormat format : {SpeechFormat::wav, SpeechFormat::flac, SpeechFormat::pcm})
    EXPECT_EQ(written(format, samples, 10'000), written(format, samples, 33));
}

TEST(SoundWriter, SamplesBeyondFullScaleAreCut) {
  const std::vector<float> samples = {2, -2, 1, -1, 0};
  EXPECT_EQ(written(SpeechFormat::pcm, samples, 9),
            std::string("\xff\x7f\x00\x80\xff\x7f\x01\x80\x00\x00", 10));
  const Sound back = read_back(written(SpeechFormat::flac, samples, 9));
  EXPECT_NEAR(back.samples[0], 1, 0.001);
  EXPECT_NEAR(back.samples[1], -1, 0.001);
}

TEST(SoundWriter, AWavHeaderStatesTheLengthIfItIsKnown) {
  SoundWriter known(SpeechFormat::wav, 24'000, 3), unknown(SpeechFormat::wav, 24'000);
  const std::string head = known.add({}), open_end = unknown.add({});
  ASSERT_EQ(head.size(), 44u);
  EXPECT_EQ(head.substr(40), std::string("\x06\0\0\0", 4));
  EXPECT_EQ(open_end.substr(40), "\xff\xff\xff\xff");
}

TEST(SoundWriter, UnknownNamesAndRatesAreRefused) {
  EXPECT_FALSE(speech_format_of("aac"));
  EXPECT_EQ(content_type_of(SpeechFormat::opus), "audio/ogg");
  EXPECT_THROW(SoundWriter(SpeechFormat::opus, 23'456), Error);
}

}  // namespace
}  // namespace quern
