// SPDX-License-Identifier: Apache-2.0
// Any bytes either decode within the limits and resize, or end in an Error.
#include "base/error.h"
#include "media/image/header.h"
#include "media/image/image.h"
#include "media/image/resize.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const quern::ImageLimits limits{.max_bytes = 1 << 20, .max_pixels = 1 << 18};
  try {
    const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
    const quern::ImageHeader header = quern::read_image_header(bytes, limits);
    const quern::Image image = quern::decode_image(bytes, limits);
    if (image.width != header.width || image.height != header.height) __builtin_trap();
    if (image.rgb.size() != static_cast<size_t>(image.width * image.height * 3)) __builtin_trap();
    quern::resize_bicubic(image, 28, 56, quern::ResizeRule::pil);
  } catch (const quern::Error&) {
  }
  return 0;
}
