// SPDX-License-Identifier: Apache-2.0
// MediaInput: one picture, clip or recording as a tower takes it. `prompt` fills it, a tower reads
// it.
#pragma once

#include <cstdint>
#include <vector>

#include "base/hash.h"

namespace quern {

enum class MediaKind : uint8_t { image, video, audio };

struct MediaInput {
  MediaKind kind = MediaKind::image;
  Hash128 hash;  // of kind, grid, values, and tokens of recordings: equal hashes mean equal
                 // encoder rows

  // [rows, row_size] row-major: pixel patches in the tower's order (see nn/vision_grid.h), or the
  // mel frames of one window.
  std::vector<float> values;
  int64_t rows = 0, row_size = 0;

  // Pictures and clips, counted in patches: temporal patches, rows, columns. rows == grid_t *
  // grid_h * grid_w.
  int64_t grid_t = 1, grid_h = 0, grid_w = 0;
  double seconds_per_grid = 0;  // clips: seconds between temporal patches
  // Recordings: frames that begin inside of the sound; silence fills the window behind it.
  int64_t valid_rows = 0;
  // A clip whose frames stand apart in a prompt is several inputs, as are the windows of a
  // recording: this is number `part` of `parts`.
  int32_t part = 0, parts = 1;

  int64_t tokens = 0;  // decoder tokens that its encoder rows become
};

}  // namespace quern
