// SPDX-License-Identifier: Apache-2.0
#include "prompt/patches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quern {
namespace {

using testing::ElementsAre;

// Patches of 1 x 1 pixel show the order: the red value of a pixel is its index.
Image numbered(int64_t width, int64_t height, int first = 0) {
  Image image{width, height, {}};
  for (int64_t i = 0; i < width * height; ++i)
    for (int c = 0; c < 3; ++c) image.rgb.push_back(static_cast<uint8_t>(first + i + 100 * c));
  return image;
}

ChannelTables as_they_are() {
  return make_channel_tables({.do_rescale = false, .do_normalize = false});
}

TEST(Patches, GoCellByCell) {
  const std::vector<Image> frames{numbered(4, 4)};
  const auto rows = cut_patches(frames, {.size = 1, .temporal = 1, .merge = 2}, as_they_are());
  std::vector<float> reds;
  for (size_t i = 0; i < rows.size(); i += 3) reds.push_back(rows[i]);
  EXPECT_THAT(reds, ElementsAre(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
}

TEST(Patches, ARowIsChannelFrameLineColumn) {
  const std::vector<Image> frames{numbered(2, 2), numbered(2, 2, 10)};
  EXPECT_THAT(cut_patches(frames, {.size = 2, .temporal = 2, .merge = 1}, as_they_are()),
              ElementsAre(0,
                          1,
                          2,
                          3,
                          10,
                          11,
                          12,
                          13,  // red of both frames
                          100,
                          101,
                          102,
                          103,
                          110,
                          111,
                          112,
                          113,  // green
                          200,
                          201,
                          202,
                          203,
                          210,
                          211,
                          212,
                          213));
}

TEST(Patches, TheLastFrameIsRepeated) {
  const std::vector<Image> odd{numbered(1, 1, 1), numbered(1, 1, 2), numbered(1, 1, 3)};
  EXPECT_THAT(cut_patches(odd, {.size = 1, .temporal = 2, .merge = 1}, as_they_are()),
              ElementsAre(1, 2, 101, 102, 201, 202, 3, 3, 103, 103, 203, 203));
}

TEST(ChannelTables, FuseRescalingAndNormalising) {
  const ChannelTables t = make_channel_tables({.mean = {0.5, 0.25, 0}, .std = {0.5, 0.25, 1}});
  EXPECT_FLOAT_EQ(t[0][0], -1);
  EXPECT_FLOAT_EQ(t[0][255], 1);
  EXPECT_FLOAT_EQ(t[1][255], 3);
  EXPECT_FLOAT_EQ(t[2][51], 0.2f);
  EXPECT_FLOAT_EQ(make_channel_tables({.do_normalize = false})[0][51], 0.2f);
  EXPECT_FLOAT_EQ(
      make_channel_tables({.do_rescale = false, .mean = {1, 1, 1}, .std = {2, 2, 2}})[0][5], 2);
}

}  // namespace
}  // namespace quern
