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
  EXPECT_EQ(error_of(source, {{"type", "input_audio"}, {"input_audio", {{"data", "x"}}}}).code(),
            ErrorCode::unsupported);
  EXPECT_EQ(error_of(source, {{"type", "video"}, {"video", Json::array()}}).code(),
            ErrorCode::exhausted);
  EXPECT_EQ(error_of(source, {{"type", "video"}, {"video", {kPixel}}, {"fps", 0}}).code(),
            ErrorCode::invalid_argument);
  EXPECT_EQ(error_of(source, {{"type", "image"}, {"image", "http://127.0.0.1/x.png"}}).code(),
            ErrorCode::invalid_argument);
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
