// SPDX-License-Identifier: Apache-2.0
#include "nn/vision_grid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "nn/vision_input.h"

namespace quern {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

TEST(VisionGrid, ListsPatchesCellByCell) {
  // The order that the reference documents for a 4 x 6 grid.
  const std::vector<int32_t> rows = {0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1,
                                     2, 2, 3, 3, 2, 2, 3, 3, 2, 2, 3, 3};
  const std::vector<int32_t> columns = {0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5,
                                        0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5};
  const std::vector<int32_t> positions = patch_positions({1, 4, 6, 2});
  EXPECT_THAT(std::vector<int32_t>(positions.begin(), positions.begin() + 24),
              ElementsAreArray(rows));
  EXPECT_THAT(std::vector<int32_t>(positions.begin() + 24, positions.end()),
              ElementsAreArray(columns));
}

TEST(VisionGrid, RepeatsPositionsForEveryFrame) {
  const std::vector<int32_t> one = patch_positions({1, 4, 2, 2}),
                             two = patch_positions({2, 4, 2, 2});
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(two[i], one[i]);
    EXPECT_EQ(two[8 + i], one[i]);
    EXPECT_EQ(two[24 + i], one[8 + i]);
  }
  EXPECT_THAT(frame_segments({3, 4, 2, 2}), ElementsAre(0, 8, 16, 24));
}

TEST(VisionGrid, GroupsCellsIntoWindowsThatAreSmallerAtTheEdges) {
  // 3 x 5 cells, windows of 2 x 2:   0  1 | 2  3 | 4
  //                                  5  6 | 7  8 | 9
  //                                 10 11 |12 13 |14
  const WindowOrder order = window_order({1, 6, 10, 2}, 2);
  EXPECT_THAT(order.cells, ElementsAre(0, 1, 5, 6, 2, 3, 7, 8, 4, 9, 10, 11, 12, 13, 14));
  EXPECT_THAT(order.segments, ElementsAre(0, 16, 32, 40, 48, 56, 60));
  for (size_t i = 0; i < order.cells.size(); ++i)
    EXPECT_EQ(order.inverse[static_cast<size_t>(order.cells[i])], static_cast<int32_t>(i));
}

TEST(VisionGrid, AddsNoEmptyWindowWhereTheSideDivides) {
  const WindowOrder order = window_order({2, 4, 4, 2}, 2);
  EXPECT_THAT(order.segments, ElementsAre(0, 16, 32));
  EXPECT_TRUE(std::ranges::is_sorted(order.cells));
}

TEST(VisionGrid, WindowsNeverCrossFrames) {
  const PatchGrid grid{3, 6, 10, 2};
  const WindowOrder order = window_order(grid, 2);
  for (const int32_t border : frame_segments(grid))
    EXPECT_TRUE(std::ranges::binary_search(order.segments, border)) << border;
}

TEST(VisionGrid, ExpandsCellsToTheirPatches) {
  EXPECT_THAT(patches_of_cells({2, 0}, {1, 2, 6, 2}), ElementsAre(8, 9, 10, 11, 0, 1, 2, 3));
}

TEST(VisionInput, RefusesAGridThatTheTowerCannotMerge) {
  MediaInput media;
  media.grid_h = 4, media.grid_w = 6, media.rows = 24, media.row_size = 1176;
  EXPECT_EQ(grid_of(media, 2, 1176).cells(), 6);
  EXPECT_THROW(grid_of(media, 3, 1176), Error);
  EXPECT_THROW(grid_of(media, 2, 588), Error);
  media.rows = 23;
  EXPECT_THROW(grid_of(media, 2, 1176), Error);
}

TEST(VisionGrid, ConvolutionsReadChannelsFirst) {
  EXPECT_EQ(conv_inputs(3, 2), (std::vector<int32_t>{0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11}));
  EXPECT_EQ(conv_inputs(2, 1), (std::vector<int32_t>{0, 1}));
}

}  // namespace
}  // namespace quern
