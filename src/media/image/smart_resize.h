// SPDX-License-Identifier: Apache-2.0
// The target size of a picture: sides that are multiples of a factor, a pixel count between two
// limits, the shape kept.
#pragma once

#include <cstdint>

namespace quern {

struct ImageSize {
  int64_t height = 0, width = 0;
  bool operator==(const ImageSize&) const = default;
};

struct PixelRange {
  int64_t min_pixels = 0, max_pixels = 0;
};

// Quotients are rounded half to even. Both throw invalid_argument if one side is more than 200
// times the other, or a side has no pixels or more than 2^24. Qwen2-VL (factor 28) and HunYuan-VL
// (factor 32).
ImageSize smart_resize(ImageSize size, int64_t factor, PixelRange range);
// GLM-4V: the range counts the pixels of all frames (a picture counts as `temporal`, the frames of
// a patch), and sides below the factor are enlarged first. Throws also for fewer frames than those
// of a patch.
ImageSize smart_resize_clip(
    int64_t frames, ImageSize size, int64_t factor, PixelRange range, int64_t temporal = 2);

}  // namespace quern
