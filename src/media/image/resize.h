// SPDX-License-Identifier: Apache-2.0
// Antialiased bicubic resizing, equal to the two references bit for bit. Both weigh pixels with
// Keys' kernel (a = -0.5), widened by the factor of reduction, in one pass per axis with 8-bit
// pixels in between; they differ in fixed-point precision and in the order of the passes, by a grey
// level or two in a few pixels.
#pragma once

#include <cstdint>

#include "media/image/image.h"

namespace quern {

enum class ResizeRule : uint8_t {
  torchvision,  // 15-bit weights of one precision per axis, rows first: the default of current
                // transformers
  pil,          // 22-bit weights, order by size as Pillow 13 chooses it
  pil_horizontal_first,  // 22-bit weights, as Pillow up to 11
};

// Throws invalid_argument unless the picture and the wanted size have pixels and the latter at most
// 2^28.
Image resize_bicubic(const Image& image,
                     int64_t width,
                     int64_t height,
                     ResizeRule rule = ResizeRule::torchvision);

}  // namespace quern
