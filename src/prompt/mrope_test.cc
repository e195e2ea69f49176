// SPDX-License-Identifier: Apache-2.0
// The worked examples of the Qwen2-VL and Qwen2.5-VL rules.
#include "prompt/mrope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quern {
namespace {

using testing::ElementsAre;

struct Grid {
  MediaKind kind;
  int64_t t, h, w;
  double seconds = 1;
};

// `before` text tokens, the medium, `after` text tokens.
Prompt prompt_with(int before, const Grid& grid, int after) {
  auto media = std::make_shared<MediaInput>();
  media->kind = grid.kind;
  media->grid_t = grid.t;
  media->grid_h = grid.h;
  media->grid_w = grid.w;
  media->seconds_per_grid = grid.seconds;
  media->tokens = grid.t * grid.h * grid.w / 4;
  Prompt prompt;
  prompt.media.push_back({media, before, static_cast<int32_t>(media->tokens)});
  prompt.ids.resize(static_cast<size_t>(before + media->tokens + after));
  return prompt;
}

std::vector<int32_t> axis(const Prompt& prompt, int a) {
  const auto tokens = static_cast<std::ptrdiff_t>(prompt.ids.size());
  return {prompt.positions.begin() + a * tokens, prompt.positions.begin() + (a + 1) * tokens};
}

TEST(Mrope, TextAloneCounts) {
  Prompt prompt;
  prompt.ids.resize(4);
  place_mrope(prompt, {});
  EXPECT_THAT(prompt.positions, ElementsAre(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3));
  EXPECT_EQ(prompt.axes, 3);
  EXPECT_EQ(prompt.rope_delta, 0);
}

TEST(Mrope, APictureSpansItsLargerSide) {
  Prompt prompt = prompt_with(3, {MediaKind::image, 1, 4, 6}, 3);
  place_mrope(prompt, {});
  EXPECT_THAT(axis(prompt, 0), ElementsAre(0, 1, 2, 3, 3, 3, 3, 3, 3, 6, 7, 8));
  EXPECT_THAT(axis(prompt, 1), ElementsAre(0, 1, 2, 3, 3, 3, 4, 4, 4, 6, 7, 8));
  EXPECT_THAT(axis(prompt, 2), ElementsAre(0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7, 8));
  EXPECT_EQ(prompt.rope_delta, -3);
}

TEST(Mrope, AfterAClipTextGoesOnByEitherRule) {
  Prompt prompt = prompt_with(2, {MediaKind::video, 4, 4, 4}, 2);
  place_mrope(prompt, {});
  EXPECT_THAT(axis(prompt, 0),
              ElementsAre(0, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6, 7));
  EXPECT_EQ(prompt.rope_delta, -12);
  place_mrope(prompt, {.is_time_ignored_after = true});
  EXPECT_EQ(axis(prompt, 1).back(), 5);
  EXPECT_EQ(prompt.rope_delta, -14);
}

TEST(Mrope, ClipsOfQwen25CountSeconds) {
  Prompt prompt = prompt_with(2, {MediaKind::video, 3, 4, 4}, 1);
  place_mrope(prompt, {.tokens_per_second = 2});
  EXPECT_THAT(axis(prompt, 0), ElementsAre(0, 1, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6, 7));
  Prompt slow = prompt_with(0, {MediaKind::video, 3, 2, 2, 0.7}, 0);
  place_mrope(slow, {.tokens_per_second = 2});
  EXPECT_THAT(axis(slow, 0), ElementsAre(0, 1, 2));  // 0, 1.4, 2.8, each cut after the product
}

TEST(Mrope, StillPicturesDoNotCountSeconds) {
  Prompt prompt = prompt_with(0, {MediaKind::image, 1, 2, 2, 9}, 1);
  place_mrope(prompt, {.tokens_per_second = 2});
  EXPECT_THAT(axis(prompt, 0), ElementsAre(0, 1));
}

}  // namespace
}  // namespace quern
