// SPDX-License-Identifier: Apache-2.0
// From resized pictures to the rows of a tower: values normalised, patches cut in the order of
// nn/vision_grid.h.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "media/image/image.h"

namespace quern {

// value -> normalised value, per channel.
using ChannelTables = std::array<std::array<float, 256>, 3>;

struct PixelScaling {
  bool do_rescale = true, do_normalize = true;
  double rescale_factor = 1.0 / 255;
  std::array<double, 3> mean{0, 0, 0}, std{1, 1, 1};
};

// (x - mean / factor) / (std / factor) in float32: rescaling and normalising fused, as
// transformers' torchvision backend does.
ChannelTables make_channel_tables(const PixelScaling& scaling);

struct PatchShape {
  int64_t size = 14;     // pixels of a side
  int64_t temporal = 2;  // frames
  int64_t merge = 2;     // patches of a cell's side

  int64_t row_size() const { return 3 * temporal * size * size; }
};

// Rows [ceil(frames / temporal) * patches of a frame, row_size()]; a row is [channel, frame, y, x].
// The last frame is repeated until their number is a multiple of `temporal`. Frames have one size,
// sides multiples of size * merge.
std::vector<float> cut_patches(std::span<const Image> frames,
                               const PatchShape& shape,
                               const ChannelTables& tables);

}  // namespace quern
