// SPDX-License-Identifier: Apache-2.0
// Image: 8-bit RGB pixels; decoding with limits that are checked before pixels are allocated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace quern {

struct Image {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> rgb;  // [height, width, 3]
};

struct ImageLimits {
  size_t max_bytes = size_t{32} << 20;
  int64_t max_pixels = int64_t{64} << 20;
};

// JPEG, PNG (palette, grey, 16-bit, alpha), WebP, GIF (first frame), recognised by content. RGB as
// the reference (PIL Image.convert("RGB")) makes it: alpha dropped, not blended; EXIF orientation
// ignored. Throws unsupported for another format, exhausted over a limit (with the numbers, from
// the header alone), data_loss for damage.
Image decode_image(std::span<const std::byte> bytes, const ImageLimits& limits = {});

}  // namespace quern
