// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>

#include "base/error.h"
#include "media/image/codecs.h"
#include "media/image/image.h"

namespace quern {
namespace {

using namespace std::string_view_literals;

bool starts_with(EncodedImage bytes, std::string_view magic, size_t at = 0) {
  if (bytes.size() < at + magic.size()) return false;
  return std::equal(magic.begin(), magic.end(), reinterpret_cast<const char*>(bytes.data()) + at);
}

// The first bytes, printable ones as they are: what a person needs to see that an HTML page was
// sent.
std::string first_bytes(EncodedImage bytes) {
  std::string text;
  for (std::byte b : bytes.first(std::min<size_t>(bytes.size(), 16))) {
    const auto c = static_cast<unsigned char>(b);
    if (c >= 0x20 && c < 0x7f) {
      text += static_cast<char>(c);
    } else {
      text += format("\\x{:02x}", c);
    }
  }
  return text;
}

}  // namespace

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
  if (bytes.size() > limits.max_bytes)
    fail(ErrorCode::exhausted,
         "picture: {} bytes, at most {} are accepted",
         bytes.size(),
         limits.max_bytes);
  if (starts_with(bytes, "\xff\xd8\xff"sv)) return decode_jpeg(bytes, limits);
  if (starts_with(bytes, "\x89PNG\r\n\x1a\n"sv)) return decode_png(bytes, limits);
  if (starts_with(bytes, "RIFF"sv) && starts_with(bytes, "WEBP"sv, 8))
    return decode_webp(bytes, limits);
  if (starts_with(bytes, "GIF87a"sv) || starts_with(bytes, "GIF89a"sv))
    return decode_gif(bytes, limits);
  if (bytes.empty()) fail(ErrorCode::invalid_argument, "picture: it has no bytes");
  fail(ErrorCode::unsupported,
       "picture: expected JPEG, PNG, WebP or GIF, got {} bytes that begin with \"{}\"",
       bytes.size(),
       first_bytes(bytes));
}

}  // namespace quern
