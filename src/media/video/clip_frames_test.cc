// SPDX-License-Identifier: Apache-2.0
#include "media/video/clip_frames.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quern {
namespace {

using testing::ElementsAre;

TEST(ChooseFrames, TakesListsAtTwoFramesPerSecondWhole) {
  EXPECT_THAT(choose_frames(5, 2.0).indices, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(choose_frames(1, 0.5).indices, ElementsAre(0));
  EXPECT_EQ(choose_frames(3, 1.0).fps, 1.0);
}

TEST(ClipFrames, ARuleSaysHowMany) {
  EXPECT_EQ(choose_frames(40, 4.0, {.fps = 1.0}).indices.size(), 10u);
  EXPECT_EQ(choose_frames(40, 4.0, {.fps = 4.0}).indices.size(), 40u);
  EXPECT_EQ(choose_frames(40, 4.0, {.fps = 4.0, .max_frames = 12}).indices.size(), 12u);
  EXPECT_EQ(choose_frames(40, 8.0, {.min_frames = 16}).indices.size(), 16u);
  EXPECT_EQ(choose_frames(40, 4.0, {.num_frames = 6}).indices.size(), 6u);
  EXPECT_EQ(choose_frames(5, 4.0, {.num_frames = 6}).indices.size(), 5u);
  EXPECT_EQ(choose_frames(40, 4.0, {.max_frames = 4, .num_frames = 6}).indices.size(), 4u);
  EXPECT_EQ(choose_frames(40, 4.0, {.num_frames = 6}).fps, 6.0 / 40 * 4);
}

TEST(ChooseFrames, ThinsOutDenseClips) {
  const ClipFrames chosen = choose_frames(16, 4.0);
  EXPECT_THAT(chosen.indices, ElementsAre(0, 2, 4, 6, 9, 11, 13, 15));
  EXPECT_EQ(chosen.fps, 2.0);
}

TEST(ChooseFrames, KeepsAtLeastFourAndRoundsHalfToEven) {
  EXPECT_THAT(choose_frames(30, 30.0).indices, ElementsAre(0, 10, 19, 29));  // one second
  EXPECT_EQ(choose_frames(50, 20.0).indices.size(), 4u);  // 5 frames: 2.5 pairs -> 2
  EXPECT_EQ(choose_frames(70, 20.0).indices.size(), 8u);  // 7 frames: 3.5 pairs -> 4
  EXPECT_EQ(choose_frames(3, 30.0).indices.size(), 3u);   // 2 pairs, but there are no more
  EXPECT_THAT(choose_frames(1, 30.0).indices, ElementsAre(0));
}

TEST(ChooseFrames, NeverMoreThan768) {
  const ClipFrames chosen = choose_frames(4000, 2.0);
  EXPECT_EQ(chosen.indices.size(), 768u);
  EXPECT_EQ(chosen.indices.back(), 3999);
  EXPECT_DOUBLE_EQ(chosen.fps, 768.0 / 4000 * 2);
}

TEST(ClipPixelRange, SharesTheBudgetAmongFrames) {
  EXPECT_EQ(clip_pixel_range(4).max_pixels, 768 * 784);
  EXPECT_EQ(clip_pixel_range(256).max_pixels, 24576 * 784 / 256 * 2);
  EXPECT_EQ(clip_pixel_range(768).max_pixels, static_cast<int64_t>(128 * 784 * 1.05));
  EXPECT_EQ(clip_pixel_range(4).min_pixels, 128 * 784);
}

}  // namespace
}  // namespace quern
