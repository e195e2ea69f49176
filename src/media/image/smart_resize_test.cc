// SPDX-License-Identifier: Apache-2.0
#include "media/image/smart_resize.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace quern {
namespace {

constexpr PixelRange kWide{3136, 12845056};

TEST(SmartResize, RoundsHalfToEven) {
  EXPECT_EQ(smart_resize({42, 70}, 28, {0, 1 << 20}), (ImageSize{56, 56}));
  EXPECT_EQ(smart_resize({98, 98}, 28, {0, 1 << 20}), (ImageSize{112, 112}));
}

TEST(SmartResize, KeepsScreenshotsAndCapsThem) {
  EXPECT_EQ(smart_resize({1920, 1080}, 28, kWide), (ImageSize{1932, 1092}));
  EXPECT_EQ(smart_resize({1920, 1080}, 28, {3136, 1280 * 784}), (ImageSize{1316, 728}));
}

TEST(SmartResize, GrowsSmallPictures) {
  EXPECT_EQ(smart_resize({1, 1}, 28, kWide), (ImageSize{56, 56}));
  EXPECT_EQ(smart_resize({10, 300}, 28, kWide), (ImageSize{28, 308}));
}

TEST(SmartResize, RefusesStripsAndNothing) {
  EXPECT_THROW(smart_resize({1, 201}, 28, kWide), Error);
  EXPECT_THROW(smart_resize({0, 5}, 28, kWide), Error);
  EXPECT_THROW(smart_resize({int64_t{1} << 40, int64_t{1} << 40}, 28, kWide), Error);
  EXPECT_THROW(smart_resize_clip(1, {56, 56}, 28, kWide), Error);
  EXPECT_THROW(smart_resize_clip(2, {0, 5}, 28, kWide), Error);
}

TEST(SmartResizeClip, CountsAllFrames) {
  EXPECT_EQ(smart_resize_clip(2, {28, 28}, 28, {200704, 1003520}), (ImageSize{336, 336}));
  EXPECT_EQ(smart_resize_clip(2, {1, 200}, 28, kWide),
            (ImageSize{28, 5600}));  // enlarged to the factor first
}

}  // namespace
}  // namespace quern
