// SPDX-License-Identifier: Apache-2.0
// Recordings of every format, and files that lie.
#include "media/audio/sound.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/file.h"
#include "media/audio/encoded_sound.h"
#include "media/audio/known_leaks.h"
#include "media/audio/resampler.h"

namespace quern {
namespace {

using testing::HasSubstr;

constexpr int64_t kRate = 16'000;

Sound decode(const std::string& bytes,
             const SoundLimits& limits = {},
             const SoundForm& form = kRate) {
  return decode_sound(std::as_bytes(std::span(bytes)), form, limits);
}

Error error_of(const std::string& bytes, const SoundLimits& limits = {}) {
  try {
    decode(bytes, limits);
  } catch (const Error& e) {
    return e;
  }
  return Error(ErrorCode::internal, "no error");
}

std::string bytes_of_floats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// How far `got` is from a tone, at most, once the first and last `margin` samples are left out.
double distance_from_tone(const Sound& got, int64_t margin) {
  const std::vector<float> expected = tone(got.rate_hz, got.seconds() + 0.001);
  double worst = 0;
  for (size_t i = static_cast<size_t>(margin); i + static_cast<size_t>(margin) < got.samples.size();
       ++i)
    worst = std::max(worst, std::abs(double{got.samples[i]} - expected[i]));
  return worst;
}

TEST(DecodeSound, IntegersAreFractionsOfFullScale) {
  const std::string file = read_file(QUERN_SOURCE_DIR "/tests/golden/glmasr/inputs/audio_a.wav");
  const Sound sound = decode(file);
  EXPECT_EQ(sound.rate_hz, kRate);
  ASSERT_EQ(sound.samples.size(), (file.size() - 44) / 2);
  for (size_t i = 0; i < sound.samples.size(); ++i) {
    int16_t value = 0;
    std::memcpy(&value, file.data() + 44 + 2 * i, 2);
    ASSERT_EQ(sound.samples[i], static_cast<float>(value) / 32768) << i;
  }
}

TEST(DecodeSound, ReadsEveryFormat) {
  const struct {
    const char* name;
    int format;
    int64_t rate_hz;
    double bound;  // of the tone: what the format loses, and resampling
  } cases[] = {{"wav", SF_FORMAT_WAV | SF_FORMAT_PCM_24, 16'000, 1e-6},
               {"wav, extensible", SF_FORMAT_WAVEX | SF_FORMAT_PCM_16, 16'000, 1e-4},
               {"wav, 64-bit", SF_FORMAT_RF64 | SF_FORMAT_FLOAT, 16'000, 1e-6},
               {"wav, mu-law", SF_FORMAT_WAV | SF_FORMAT_ULAW, 8'000, 0.03},
               {"flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 44'100, 1e-3},
               {"vorbis", SF_FORMAT_OGG | SF_FORMAT_VORBIS, 44'100, 0.05},
               {"opus", SF_FORMAT_OGG | SF_FORMAT_OPUS, 48'000, 0.05},
               {"mp3", SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, 44'100, 0.05}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const std::string file = encoded(tone(c.rate_hz, 0.5, 2), c.rate_hz, 2, c.format);
    ASSERT_FALSE(file.empty());
    const Sound sound = decode(file);
    EXPECT_NEAR(sound.seconds(), 0.5, 0.06);  // MP3 has its encoder's delay in front
    if (std::string_view(c.name) == "mp3") {
      double square = 0;
      for (const float x : sound.samples) square += double{x} * x;
      EXPECT_NEAR(std::sqrt(square / static_cast<double>(sound.samples.size())), 0.353, 0.03);
    } else {
      EXPECT_LT(distance_from_tone(sound, 1600), c.bound);
    }
  }
}

TEST(DecodeSound, ChannelsAreAveraged) {
  const std::string file =
      wav({.channels = 2, .bits = 32}, bytes_of_floats({1, 0, 0.5f, -0.5f, -1, 0.25f}));
  EXPECT_EQ(decode(file).samples, (std::vector<float>{0.5f, 0, -0.375f}));
}

TEST(DecodeSound, TheFirstChannelAloneWhereItIsAskedFor) {
  const std::string file =
      wav({.channels = 2, .bits = 32}, bytes_of_floats({1, 0, 0.5f, -0.5f, -1, 0.25f}));
  EXPECT_EQ(decode(file, {}, {kRate, SoundChannel::first}).samples,
            (std::vector<float>{1, 0.5f, -1}));
}

TEST(DecodeSound, TheFilesOwnRateWhereItIsAskedFor) {
  for (const int64_t rate : {1'000, 44'100, 384'000}) {
    const std::vector<float> samples = tone(rate, 0.3);
    const std::string file = encoded(samples, rate, 1, SF_FORMAT_WAV | SF_FORMAT_FLOAT);
    const Sound sound = decode(file, {}, SoundForm::kFileRate);
    EXPECT_EQ(sound.rate_hz, rate);
    EXPECT_EQ(sound.samples, samples);
  }
}

TEST(DecodeSound, ResamplesToTheWantedLength) {
  for (const int64_t from : {8'000, 11'025, 22'050, 44'100, 48'000, 96'000, 384'000})
    for (const int64_t to : {16'000, 24'000}) {
      const int64_t frames = from / 2 + 3;
      std::vector<float> samples = tone(from, 1);
      samples.resize(static_cast<size_t>(frames));
      const std::string file = encoded(samples, from, 1, SF_FORMAT_WAV | SF_FORMAT_FLOAT);
      const Sound sound = decode(file, {}, to);
      EXPECT_EQ(static_cast<int64_t>(sound.samples.size()), (frames * to + from - 1) / from);
      EXPECT_LT(distance_from_tone(sound, to / 20), 1e-3) << from << " to " << to;
    }
}

TEST(Resampler, BlocksChangeNothing) {
  const std::vector<float> samples = tone(44'100, 0.7);
  const auto resample = [&](size_t block) {
    Resampler resampler(44'100, 16'000);
    std::vector<float> out;
    for (size_t at = 0; at < samples.size(); at += block)
      resampler.add(std::span(samples).subspan(at, std::min(block, samples.size() - at)), out);
    resampler.finish(out);
    return out;
  };
  const std::vector<float> whole = resample(samples.size());
  for (const size_t block : {size_t{1}, size_t{100}, size_t{4096}})
    EXPECT_EQ(resample(block), whole) << block;
}

TEST(DecodeSound, HeadersAreNotBelieved) {
  const std::string second(32'000, '\1');
  // Four gigabytes that are not there: what is there is read.
  EXPECT_EQ(
      decode(wav({.data_bytes = 0xfffffff0, .riff_bytes = 0xffffffff}, second)).samples.size(),
      16'000u);
  EXPECT_EQ(error_of(wav({.rate_hz = 0}, second)).code(), ErrorCode::data_loss);
  const Error fast = error_of(wav({.rate_hz = 400'000}, second));
  EXPECT_EQ(fast.code(), ErrorCode::unsupported);
  EXPECT_THAT(fast.what(), HasSubstr("400000 Hz; 1000 to 384000 are accepted"));
  EXPECT_EQ(error_of(wav({.rate_hz = 4'000'000'000u}, second)).code(), ErrorCode::data_loss);
  const Error wide = error_of(wav({.channels = 64}, second));
  EXPECT_EQ(wide.code(), ErrorCode::unsupported);
  EXPECT_THAT(wide.what(), HasSubstr("64 channels; 1 to 16 are accepted"));
  EXPECT_EQ(error_of(wav({.channels = 0}, second)).code(), ErrorCode::data_loss);
}

TEST(DecodeSound, NothingAndDamageAreErrors) {
  EXPECT_EQ(error_of("").code(), ErrorCode::invalid_argument);
  const Error none = error_of(wav({}, ""));
  EXPECT_EQ(none.code(), ErrorCode::data_loss);
  EXPECT_THAT(none.what(), HasSubstr("holds no samples"));
  EXPECT_EQ(error_of("RIFF\x10WAVEfmt ").code(), ErrorCode::unsupported);
  EXPECT_EQ(error_of(std::string("RIFF\x10\0\0\0WAVEfmt ", 16)).code(), ErrorCode::data_loss);
  EXPECT_THAT(error_of(std::string("\0\0\0\x20", 4) + "ftypM4A " + std::string(40, 'x')).what(),
              HasSubstr("MP4 file (m4a, AAC)"));
  EXPECT_THAT(error_of("hello, this is text").what(), HasSubstr("expected WAV, FLAC, Ogg"));
  for (const int format : {SF_FORMAT_FLAC | SF_FORMAT_PCM_16,
                           SF_FORMAT_OGG | SF_FORMAT_VORBIS,
                           SF_FORMAT_OGG | SF_FORMAT_OPUS,
                           SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III}) {
    const std::string file = encoded(tone(48'000, 0.5), 48'000, 1, format);
    for (const size_t length : {size_t{5}, size_t{40}, file.size() / 2}) {
      const Error error = error_of(file.substr(0, length));  // or what is left of it
      EXPECT_TRUE(error.code() == ErrorCode::data_loss || length == file.size() / 2)
          << format << ": " << error.what();
    }
  }
}

TEST(DecodeSound, SamplesMustBeNumbers) {
  for (const float bad : {NAN, INFINITY, -INFINITY, std::numeric_limits<float>::max()}) {
    const Error error = error_of(wav({.bits = 32}, bytes_of_floats({0, 0.5f, bad, 0})));
    EXPECT_EQ(error.code(), ErrorCode::data_loss) << bad;
    EXPECT_THAT(error.what(), HasSubstr("frame 2 holds"));
  }
}

TEST(DecodeSound, LengthIsCountedWhileItIsDecoded) {
  // An hour of silence is a few thousand bytes of FLAC.
  const std::vector<float> silence(static_cast<size_t>(8'000 * 3600), 0.0f);
  const std::string file = encoded(silence, 8'000, 1, SF_FORMAT_FLAC | SF_FORMAT_PCM_16);
  ASSERT_LT(file.size(), size_t{1} << 20);
  const Error error = error_of(file, {.max_seconds = 60});
  EXPECT_EQ(error.code(), ErrorCode::exhausted);
  EXPECT_THAT(error.what(), HasSubstr("longer than 60 seconds"));
  EXPECT_EQ(decode(wav({}, std::string(2 * kRate * 2, '\0')), {.max_seconds = 2}).samples.size(),
            2u * kRate);
  EXPECT_EQ(error_of(file, {.max_bytes = 1000}).code(), ErrorCode::exhausted);
}

}  // namespace
}  // namespace quern
