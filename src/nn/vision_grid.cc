// SPDX-License-Identifier: Apache-2.0
#include "nn/vision_grid.h"

#include <algorithm>

namespace quern {

std::vector<int32_t> patch_positions(const PatchGrid& grid) {
  const int64_t count = grid.patches(), m = grid.merge;
  std::vector<int32_t> out(static_cast<size_t>(2 * count));
  const int64_t cell_columns = grid.w / m;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t in_frame = i % (grid.h * grid.w), cell = in_frame / (m * m),
                  in_cell = in_frame % (m * m);
    out[static_cast<size_t>(i)] = static_cast<int32_t>(cell / cell_columns * m + in_cell / m);
    out[static_cast<size_t>(count + i)] =
        static_cast<int32_t>(cell % cell_columns * m + in_cell % m);
  }
  return out;
}

std::vector<int32_t> frame_segments(const PatchGrid& grid) {
  std::vector<int32_t> out;
  for (int64_t frame = 0; frame <= grid.t; ++frame)
    out.push_back(static_cast<int32_t>(frame * grid.h * grid.w));
  return out;
}

WindowOrder window_order(const PatchGrid& grid, int64_t side) {
  const int64_t rows = grid.h / grid.merge, columns = grid.w / grid.merge;
  WindowOrder out;
  out.segments.push_back(0);
  for (int64_t frame = 0; frame < grid.t; ++frame)
    for (int64_t top = 0; top < rows; top += side)
      for (int64_t left = 0; left < columns; left += side) {
        for (int64_t r = top; r < std::min(top + side, rows); ++r)
          for (int64_t c = left; c < std::min(left + side, columns); ++c)
            out.cells.push_back(static_cast<int32_t>((frame * rows + r) * columns + c));
        out.segments.push_back(
            static_cast<int32_t>(static_cast<int64_t>(out.cells.size()) * grid.merge * grid.merge));
      }
  out.inverse.resize(out.cells.size());
  for (size_t i = 0; i < out.cells.size(); ++i)
    out.inverse[static_cast<size_t>(out.cells[i])] = static_cast<int32_t>(i);
  return out;
}

std::vector<int32_t> conv_inputs(int64_t channels, int64_t side) {
  std::vector<int32_t> out;
  out.reserve(static_cast<size_t>(channels * side * side));
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t patch = 0; patch < side * side; ++patch)
      out.push_back(static_cast<int32_t>(patch * channels + c));
  return out;
}

std::vector<int32_t> patches_of_cells(const std::vector<int32_t>& cells, const PatchGrid& grid) {
  const auto per_cell = static_cast<int32_t>(grid.merge * grid.merge);
  std::vector<int32_t> out;
  out.reserve(cells.size() * static_cast<size_t>(per_cell));
  for (const int32_t cell : cells)
    for (int32_t i = 0; i < per_cell; ++i) out.push_back(cell * per_cell + i);
  return out;
}

}  // namespace quern
