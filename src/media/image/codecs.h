// SPDX-License-Identifier: Apache-2.0
// The decoders behind decode_image, one file each. All take a whole file whose first bytes name the
// format, call new_image with the size from the header before anything of that size is allocated,
// and throw data_loss where the bytes contradict the format.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "media/image/image.h"

namespace quern {

using EncodedImage = std::span<const std::byte>;

// Throws exhausted if there are more bytes than a picture may have.
void check_encoded_size(EncodedImage bytes, const ImageLimits& limits);
// Throws exhausted, naming both numbers, if a picture of this size is over the limit; data_loss if
// it has no pixels.
void check_image_size(std::string_view format,
                      int64_t width,
                      int64_t height,
                      const ImageLimits& limits);
// A black picture; checks its size first.
Image new_image(std::string_view format, int64_t width, int64_t height, const ImageLimits& limits);

Image decode_jpeg(EncodedImage bytes, const ImageLimits& limits);
Image decode_png(EncodedImage bytes, const ImageLimits& limits);
Image decode_webp(EncodedImage bytes, const ImageLimits& limits);
Image decode_gif(EncodedImage bytes, const ImageLimits& limits);

}  // namespace quern
