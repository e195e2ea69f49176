// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"
#include "media/image/codecs.h"
#include "media/image/header.h"
#include "media/image/image.h"

namespace quern {

void check_encoded_size(EncodedImage bytes, const ImageLimits& limits) {
  if (bytes.size() > limits.max_bytes)
    fail(ErrorCode::exhausted,
         "picture: {} bytes, at most {} are accepted",
         bytes.size(),
         limits.max_bytes);
}

void check_image_size(std::string_view format,
                      int64_t width,
                      int64_t height,
                      const ImageLimits& limits) {
  if (width < 1 || height < 1)
    fail(ErrorCode::data_loss, "{} picture: its header says {} x {} pixels", format, width, height);
  if (width > limits.max_pixels / height)
    fail(ErrorCode::exhausted,
         "{} picture: its header says {} x {} = {} pixels, at most {} are accepted; send a smaller "
         "picture",
         format,
         width,
         height,
         static_cast<double>(width) * static_cast<double>(height),
         limits.max_pixels);
}

Image new_image(std::string_view format, int64_t width, int64_t height, const ImageLimits& limits) {
  check_image_size(format, width, height, limits);
  return {width, height, std::vector<uint8_t>(static_cast<size_t>(width * height * 3))};
}

Image decode_image(std::span<const std::byte> bytes, const ImageLimits& limits) {
  check_encoded_size(bytes, limits);
  switch (image_format_of(bytes)) {
    case ImageFormat::jpeg:
      return decode_jpeg(bytes, limits);
    case ImageFormat::png:
      return decode_png(bytes, limits);
    case ImageFormat::webp:
      return decode_webp(bytes, limits);
    case ImageFormat::gif:
      return decode_gif(bytes, limits);
  }
  return {};
}

}  // namespace quern
