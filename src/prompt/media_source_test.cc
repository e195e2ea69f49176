// SPDX-License-Identifier: Apache-2.0
#include "prompt/media_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"

namespace quern {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const std::string kPictures = QUERN_SOURCE_DIR "/tests/fuzz/image";
// A 1 x 1 grey PNG.
const std::string kPixel =
    "data:image/"
    "png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+"
    "kcQAAAABJRU5ErkJggg==";

Error error_of(const MediaSource& source, const Json& part) {
  try {
    source.open_part(part, "messages[0].content[1]");
  } catch (const Error& e) {
    return e;
  }
  return Error(ErrorCode::internal, "no error");
}

MediaSource local_source(const std::string& folder) {
  MediaLimits limits;
  limits.allowed_local_path = folder;
  return MediaSource(limits);
}

TEST(MediaSource, OpensEveryWayToNameAPicture) {
  const MediaSource source;
  for (const Json& part : {Json{{"type", "image_url"}, {"image_url", {{"url", kPixel}}}},
                           Json{{"type", "image_url"}, {"image_url", kPixel}},
                           Json{{"type", "image"}, {"image", kPixel}},
                           Json{{"type", "image"}, {"url", kPixel}}}) {
    const OpenedMedia media = source.open_part(part, "here");
    EXPECT_EQ(media.kind, MediaKind::image);
    ASSERT_EQ(media.frames.size(), 1u);
    EXPECT_EQ(media.frames[0].width, 1);
  }
}

TEST(MediaSource, AClipIsAListOfPictures) {
  const MediaSource source;
  const OpenedMedia media = source.open_part(
      {{"type", "video"}, {"video", {kPixel, kPixel, kPixel}}, {"fps", 4}, {"max_pixels", 5000}},
      "here");
  EXPECT_EQ(media.kind, MediaKind::video);
  EXPECT_EQ(media.frames.size(), 3u);
  EXPECT_EQ(media.fps, 4.0);
  EXPECT_EQ(media.options.max_pixels, 5000);
}

TEST(MediaSource, ErrorsNameThePlace) {
  const MediaSource source;
  EXPECT_THAT(
      error_of(source,
               {{"type", "image_url"}, {"image_url", {{"url", "data:image/png;base64,!!!!"}}}})
          .what(),
      HasSubstr("messages[0].content[1]: base64"));
  EXPECT_THAT(error_of(source, {{"type", "video"}, {"video", {kPixel, "data:,"}}}).what(),
              HasSubstr("content[1]: video[1]: picture: it has no bytes"));
  EXPECT_THAT(error_of(source, {{"type", "image"}}).what(),
              HasSubstr("expected the URL of a picture"));
  EXPECT_THAT(error_of(source, {{"type", "image"}, {"image", "C:\\x.png"}}).what(),
              HasSubstr("expected a URL that begins with"));
}

TEST(MediaSource, RefusesWhatItCannotOpen) {
  const MediaSource source;
  EXPECT_EQ(error_of(source, {{"type", "video_url"}, {"video_url", {{"url", kPixel}}}}).code(),
            ErrorCode::unsupported);
  EXPECT_EQ(error_of(source, {{"type", "text"}, {"text", "x"}}).code(), ErrorCode::unsupported);
  EXPECT_EQ(error_of(source, {{"type", "video"}, {"video", Json::array()}}).code(),
            ErrorCode::exhausted);
  EXPECT_EQ(error_of(source, {{"type", "video"}, {"video", {kPixel}}, {"fps", 0}}).code(),
            ErrorCode::invalid_argument);
  EXPECT_EQ(error_of(source, {{"type", "image"}, {"image", "http://127.0.0.1/x.png"}}).code(),
            ErrorCode::invalid_argument);
}

// A WAV file of so many silent samples at 8 kHz.
std::string quiet_wav(int64_t samples) {
  std::string out = "RIFF";
  const auto put = [&](int64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> 8 * i & 255);
  };
  put(36 + 2 * samples, 4);
  out += "WAVEfmt ";
  for (const auto& [value, bytes] :
       {std::pair<int64_t, int>{16, 4}, {1, 2}, {1, 2}, {8000, 4}, {16000, 4}, {2, 2}, {16, 2}})
    put(value, bytes);
  out += "data";
  put(2 * samples, 4);
  return out + std::string(static_cast<size_t>(2 * samples), '\0');
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t j = 0; j < 3; ++j)
      bits = bits << 8 | (i + j < bytes.size() ? static_cast<uint8_t>(bytes[i + j]) : 0u);
    for (size_t j = 0; j < 4; ++j)
      out += i + j <= bytes.size() ? kDigits[bits >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

TEST(MediaSource, RecordingsComeAsOpenAISendsThemAndByUrl) {
  const std::string data = base64(quiet_wav(800));  // a tenth of a second
  const MediaSource source;
  for (const Json& part :
       {Json{{"type", "input_audio"}, {"input_audio", {{"data", data}, {"format", "wav"}}}},
        Json{{"type", "input_audio"}, {"input_audio", {{"data", "data:audio/wav;base64," + data}}}},
        Json{{"type", "audio_url"}, {"audio_url", {{"url", "data:audio/wav;base64," + data}}}},
        Json{{"type", "audio"}, {"audio", "data:;base64," + data}}}) {
    const EncodedMedia encoded = source.fetch_part(part, "here");
    EXPECT_EQ(encoded.kind, MediaKind::audio);
    const OpenedMedia media = source.decode(encoded, {}, 24'000);
    EXPECT_EQ(media.sound.rate_hz, 24'000);
    EXPECT_EQ(media.sound.samples, std::vector<float>(2400, 0.0f)) << part;
  }
}

TEST(MediaSource, BadRecordingsAreNamed) {
  const auto said = [](const Json& inside, MediaLimits limits = {}) {
    return error_of(MediaSource(std::move(limits)),
                    {{"type", "input_audio"}, {"input_audio", inside}});
  };
  EXPECT_THAT(said("x").what(), HasSubstr("content[1].input_audio: expected {\"data\""));
  EXPECT_THAT(said({{"data", 7}}).what(), HasSubstr("input_audio: expected {\"data\""));
  EXPECT_THAT(said({{"data", "!!!!"}, {"format", "wav"}}).what(),
              HasSubstr("content[1].input_audio.data: base64"));
  const Error format = said({{"data", ""}, {"format", "aiff"}});
  EXPECT_EQ(format.code(), ErrorCode::invalid_argument);
  EXPECT_THAT(format.what(), HasSubstr("input_audio.format: expected wav, mp3"));
  const Error text = said({{"data", base64("just text")}});
  EXPECT_THAT(text.what(), HasSubstr("expected WAV, FLAC, Ogg"));
  const std::string second = base64(quiet_wav(8000));
  const Error damaged = said({{"data", base64(quiet_wav(8000).substr(0, 20))}});
  EXPECT_EQ(damaged.code(), ErrorCode::invalid_argument);
  MediaLimits limits;
  limits.max_bytes = 1000;
  EXPECT_EQ(said({{"data", second}}, limits).code(), ErrorCode::exhausted);
  EXPECT_EQ(said({{"data", base64("")}}).code(), ErrorCode::invalid_argument);
}

TEST(MediaSource, DamageIsTheSendersFault) {
  const Error error = error_of(MediaSource(), {{"type", "image"}, {"image", "data:,GIF89a"}});
  EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
  EXPECT_THAT(error.what(), HasSubstr("messages[0].content[1]: GIF picture"));
}

TEST(MediaSource, AVideoFileIsTakenWhereTheBuildDecodesThem) {
  const std::string folder = QUERN_SOURCE_DIR "/tests/fuzz/clip";
  const MediaSource source = local_source(folder);
  const Json part = {{"type", "video_url"},
                     {"video_url", {{"url", "file://" + folder + "/steps.mp4"}}}};
  if (!has_video_decoder()) {
    const Error error = error_of(source, part);
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_THAT(error.what(), HasSubstr("content[1]: video file: this build has no decoder"));
    return;
  }
  const EncodedMedia encoded = source.fetch_part(part, "here");
  EXPECT_TRUE(encoded.is_video_file);
  const OpenedMedia media = source.decode(encoded, {.num_frames = 4});
  EXPECT_EQ(media.kind, MediaKind::video);
  EXPECT_TRUE(media.is_sampled);
  EXPECT_EQ(media.frames.size(), 4u);
  EXPECT_NEAR(media.fps, 4.0 / 3, 0.01);
  EXPECT_EQ(error_of(source, {{"type", "video_url"}, {"video_url", {{"url", "data:,x"}}}}).code(),
            ErrorCode::unsupported);
}

TEST(EncodedMedia, KeysDependOnAllThatDecides) {
  const EncodedMedia one{.files = {"bytes"}};
  EncodedMedia other = one;
  EXPECT_EQ(one.key(), other.key());
  other.options.max_pixels = 5000;
  EXPECT_NE(one.key(), other.key());
  other = one, other.options.fps = 1;
  EXPECT_NE(one.key(), other.key());
  other = one, other.kind = MediaKind::video;
  EXPECT_NE(one.key(), other.key());
  other = one, other.fps = 3;
  EXPECT_NE(one.key(), other.key());
  other = one, other.files = {"byt", "es"};
  EXPECT_NE(one.key(), other.key());
}

TEST(MediaSource, LimitsFrames) {
  MediaLimits limits;
  limits.max_frames_per_clip = 2;
  EXPECT_EQ(error_of(MediaSource(limits), {{"type", "video"}, {"video", {kPixel, kPixel, kPixel}}})
                .code(),
            ErrorCode::exhausted);
  limits = {};
  limits.max_clip_bytes = 2 * 73;  // of three pictures of 73 bytes
  EXPECT_EQ(error_of(MediaSource(limits), {{"type", "video"}, {"video", {kPixel, kPixel, kPixel}}})
                .code(),
            ErrorCode::exhausted);
  limits = {};
  limits.max_clip_pixels = 2;
  EXPECT_EQ(error_of(MediaSource(limits), {{"type", "video"}, {"video", {kPixel, kPixel, kPixel}}})
                .code(),
            ErrorCode::exhausted);
}

TEST(MediaSource, LocalFilesStayBelowTheirFolder) {
  const MediaSource source = local_source(kPictures);
  EXPECT_EQ(source.open_image("file://" + kPictures + "/rgb.png", "here").frames[0].width, 20);
  EXPECT_EQ(
      source.open_image("file://localhost" + kPictures + "/rgb%2Epng", "here").frames[0].width, 20);
  for (const std::string& path : {kPictures + "/../../golden/qwen2_vl/inputs/image_a.png",
                                  std::string("/etc/passwd"),
                                  kPictures,
                                  kPictures + "/none.png",
                                  kPictures + "x/rgb.png",
                                  std::string("relative.png"),
                                  kPictures + "/rgb.png%00"})
    EXPECT_THROW(source.open_image("file://" + path, "here"), Error) << path;
  EXPECT_THROW(MediaSource().open_image("file://" + kPictures + "/rgb.png", "here"), Error);
}

TEST(MediaSource, LinksDoNotLeadOut) {
  const fs::path folder = fs::path(testing::TempDir()) / format("quern_links_{}", getpid());
  fs::create_directories(folder);
  fs::create_symlink(kPictures + "/rgb.png", folder / "link.png");
  fs::copy_file(kPictures + "/rgb.png", folder / "real.png");
  const MediaSource source = local_source(folder);
  EXPECT_THROW(source.open_image("file://" + (folder / "link.png").string(), "here"), Error);
  EXPECT_NO_THROW(source.open_image("file://" + (folder / "real.png").string(), "here"));
  fs::remove_all(folder);
}

TEST(MediaKindOf, JudgesByTypeAndKeys) {
  EXPECT_EQ(media_kind_of({{"type", "text"}, {"text", "x"}}), std::nullopt);
  EXPECT_EQ(media_kind_of({{"image_url", "x"}}), MediaKind::image);
  EXPECT_EQ(media_kind_of({{"type", "video"}}), MediaKind::video);
  EXPECT_EQ(media_kind_of({{"type", "input_audio"}}), MediaKind::audio);
  EXPECT_EQ(media_kind_of("text"), std::nullopt);
}

}  // namespace
}  // namespace quern
