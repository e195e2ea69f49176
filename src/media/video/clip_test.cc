// SPDX-License-Identifier: Apache-2.0
// Frame n of the test clips is grey of level 7 n (6 n of 219 steps): it shows which one was taken.
#include "media/video/clip.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "base/file.h"

namespace quern {
namespace {

using testing::HasSubstr;

std::string file_bytes(const std::string& name) {
  return read_file(QUERN_SOURCE_DIR "/tests/fuzz/clip/" + name);
}

Clip decode(const std::string& bytes, const FrameRule& rule = {}, const ClipLimits& limits = {}) {
  return decode_clip(std::as_bytes(std::span(bytes)), rule, limits);
}

Error error_of(const std::string& bytes,
               const FrameRule& rule = {},
               const ClipLimits& limits = {}) {
  try {
    decode(bytes, rule, limits);
  } catch (const Error& e) {
    return e;
  }
  return Error(ErrorCode::internal, "no error");
}

TEST(Clip, WithoutADecoderTheErrorNamesTheOption) {
  if (has_video_decoder()) GTEST_SKIP() << "this build has one";
  const Error error = error_of(file_bytes("steps.mp4"));
  EXPECT_EQ(error.code(), ErrorCode::unsupported);
  EXPECT_THAT(error.what(), HasSubstr("QUERN_WITH_FFMPEG"));
}

class ClipFiles : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!has_video_decoder()) GTEST_SKIP() << "this build decodes no video files";
    bytes_ = file_bytes(GetParam());
  }
  void expect_frames(const Clip& clip, const std::vector<int>& indices) {
    ASSERT_EQ(clip.frames.size(), indices.size());
    for (size_t i = 0; i < indices.size(); ++i) {
      const Image& frame = clip.frames[i];
      ASSERT_EQ(frame.width, 64);
      ASSERT_EQ(frame.height, 48);
      EXPECT_NEAR(frame.rgb.at(64 * 24 * 3 + 96), 6.0 * indices[i] * 255 / 219, 3) << i;
    }
  }
  std::string bytes_;
};

TEST_P(ClipFiles, TwoFramesOfASecondAreTaken) {
  const Clip clip = decode(bytes_);
  expect_frames(clip, {0, 6, 12, 17, 23, 29});
  EXPECT_NEAR(clip.fps, 2.0, 0.01);
}

TEST_P(ClipFiles, TheRuleSaysWhich) {
  expect_frames(decode(bytes_, {.num_frames = 4}), {0, 10, 19, 29});
  expect_frames(decode(bytes_, {.min_frames = 2, .max_frames = 2}), {0, 29});
  EXPECT_EQ(decode(bytes_, {.fps = 30}).frames.size(), 30u);
}

TEST_P(ClipFiles, LimitsHold) {
  EXPECT_EQ(error_of(bytes_, {}, {.max_bytes = 100}).code(), ErrorCode::exhausted);
  EXPECT_EQ(error_of(bytes_, {}, {.max_pixels = 64 * 48 - 1}).code(), ErrorCode::exhausted);
  const Error error = error_of(bytes_, {}, {.max_clip_pixels = 6 * 64 * 48 - 1});
  EXPECT_EQ(error.code(), ErrorCode::exhausted);
  EXPECT_THAT(error.what(), HasSubstr("6 frames of 64 x 48 pixels"));
  EXPECT_NO_THROW(decode(bytes_, {}, {.max_clip_pixels = 6 * 64 * 48}));
}

TEST_P(ClipFiles, DamageEndsInAnErrorOrFrames) {
  for (size_t size = 0; size < bytes_.size(); size += 1 + bytes_.size() / 50) {
    try {
      EXPECT_FALSE(decode(bytes_.substr(0, size)).frames.empty());
    } catch (const Error& e) {
      EXPECT_NE(e.code(), ErrorCode::internal);
    }
  }
  for (size_t at = 0; at < bytes_.size(); at += 1 + bytes_.size() / 100) {
    std::string damaged = bytes_;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
    try {
      EXPECT_FALSE(decode(damaged, {}, {.max_pixels = 1 << 20}).frames.empty());
    } catch (const Error&) {
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, ClipFiles, testing::Values("steps.mp4", "steps.webm"));

TEST(Clip, OtherFormatsAreUnsupported) {
  EXPECT_EQ(error_of("not a video").code(), ErrorCode::unsupported);
  // A playlist would name other files.
  EXPECT_EQ(error_of("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n").code(),
            ErrorCode::unsupported);
}

}  // namespace
}  // namespace quern
