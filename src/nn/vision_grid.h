// SPDX-License-Identifier: Apache-2.0
// The order of patches in the towers of the Qwen2-VL line. A medium is a grid of t frames (temporal
// patches) by h x w patches. Patches are listed frame by frame, and inside a frame in cells of
// merge x merge patches: cells row by row, inside a cell row by row. One cell becomes one token.
//
//   merge 2, 4 x 4 patches:   0  1 |  4  5
//                             2  3 |  6  7
//                             -----+------
//                             8  9 | 12 13
//                            10 11 | 14 15
#pragma once

#include <cstdint>
#include <vector>

namespace quern {

struct PatchGrid {
  int64_t t = 1, h = 0, w = 0;  // h and w are multiples of merge
  int64_t merge = 2;

  int64_t patches() const { return t * h * w; }
  int64_t cells() const { return patches() / (merge * merge); }
};

// [2, patches]: the row, then the column of each patch in its frame.
std::vector<int32_t> patch_positions(const PatchGrid& grid);

// Borders of the frames: 0, h*w, 2*h*w, ...
std::vector<int32_t> frame_segments(const PatchGrid& grid);

// Cells regrouped window by window. Windows are squares of `side` cells, smaller at the right and
// lower edge, in row-major order inside each frame.
struct WindowOrder {
  std::vector<int32_t> cells;     // position -> cell
  std::vector<int32_t> inverse;   // cell -> position
  std::vector<int32_t> segments;  // borders of the windows, counted in patches
};
WindowOrder window_order(const PatchGrid& grid, int64_t side);

// Every cell's merge² patches, for the cells in this order.
std::vector<int32_t> patches_of_cells(const std::vector<int32_t>& cells, const PatchGrid& grid);

// A convolution of side x side patches, stride side, as a product over cells: the weight [out, C,
// side, side] reads its columns (channel, row, column) from a cell's values (row, column, channel).
std::vector<int32_t> conv_inputs(int64_t channels, int64_t side);

}  // namespace quern
