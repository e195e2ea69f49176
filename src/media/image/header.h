// SPDX-License-Identifier: Apache-2.0
// What a picture says of its size, read without a decoder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "media/image/image.h"

namespace quern {

enum class ImageFormat : uint8_t { jpeg, png, webp, gif };
std::string_view name_of(ImageFormat format);

// By the first bytes. Throws unsupported for another format, invalid_argument for no bytes.
ImageFormat image_format_of(std::span<const std::byte> bytes);

struct ImageHeader {
  ImageFormat format = ImageFormat::png;
  int64_t width = 0, height = 0;  // of the picture that decode_image makes
};

// Throws as decode_image does, and data_loss where the header is not whole. A few comparisons: no
// library sees the bytes.
ImageHeader read_image_header(std::span<const std::byte> bytes, const ImageLimits& limits = {});

}  // namespace quern
