// SPDX-License-Identifier: Apache-2.0
#include "prompt/patches.h"

#include <algorithm>

#include "base/error.h"

namespace quern {
namespace {

struct Cutter {
  std::span<const Image> frames;
  const PatchShape& shape;
  const ChannelTables& tables;

  // The `offset`-th byte of a frame is the red one of the patch's corner.
  void channel(const Image& frame, int64_t offset, int64_t channel, float* out) const {
    const float* table = tables[channel].data();
    const uint8_t* row = frame.rgb.data() + offset + channel;
    for (int64_t y = 0; y < shape.size; ++y, row += frame.width * 3)
      for (int64_t x = 0; x < shape.size; ++x) *out++ = table[row[3 * x]];
  }

  // One row of the result: the frames from `first` on; past the last one the values before are
  // repeated.
  void patch(size_t first, int64_t offset, float* out) const {
    const int64_t area = shape.size * shape.size;
    for (int64_t c = 0; c < 3; ++c)
      for (int64_t t = 0; t < shape.temporal; ++t, out += area) {
        const size_t frame = first + static_cast<size_t>(t);
        if (frame < frames.size()) {
          channel(frames[frame], offset, c, out);
        } else {
          std::copy_n(out - area, area, out);
        }
      }
  }
};

}  // namespace

ChannelTables make_channel_tables(const PixelScaling& scaling) {
  ChannelTables tables;
  for (int c = 0; c < 3; ++c) {
    const float scale =
        scaling.do_rescale ? static_cast<float>(1.0 / scaling.rescale_factor) : 1.0f;
    const float mean = static_cast<float>(scaling.mean[c]) * scale,
                std = static_cast<float>(scaling.std[c]) * scale;
    for (int value = 0; value < 256; ++value) {
      const auto x = static_cast<float>(value);
      if (scaling.do_normalize) {
        tables[c][value] = (x - mean) / std;
      } else {
        tables[c][value] = scaling.do_rescale ? x * static_cast<float>(scaling.rescale_factor) : x;
      }
    }
  }
  return tables;
}

std::vector<float> cut_patches(std::span<const Image> frames,
                               const PatchShape& shape,
                               const ChannelTables& tables) {
  QUERN_CHECK(!frames.empty());
  const int64_t width = frames[0].width, height = frames[0].height, cell = shape.size * shape.merge;
  QUERN_CHECK(width % cell == 0 && height % cell == 0);
  const auto times = (static_cast<int64_t>(frames.size()) + shape.temporal - 1) / shape.temporal;
  std::vector<float> rows(
      static_cast<size_t>(times * (height / shape.size) * (width / shape.size) * shape.row_size()));
  float* out = rows.data();
  const Cutter cut{frames, shape, tables};
  for (int64_t time = 0; time < times; ++time)
    for (int64_t top = 0; top < height; top += cell)
      for (int64_t left = 0; left < width; left += cell)
        for (int64_t y = top; y < top + cell; y += shape.size)
          for (int64_t x = left; x < left + cell; x += shape.size, out += shape.row_size())
            cut.patch(static_cast<size_t>(time * shape.temporal), (y * width + x) * 3, out);
  return rows;
}

}  // namespace quern
