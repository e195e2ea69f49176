// SPDX-License-Identifier: Apache-2.0
// Sources: ITU T.81 B.1 and B.2 (markers, frame headers), W3C PNG 11.2.1 (IHDR), RFC 9649 (WebP
// containers) and RFC 6386 9.1 (VP8 frames), CompuServe GIF89a 18 to 20.
#include "media/image/header.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "media/image/codecs.h"

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

[[noreturn]] void damaged(ImageFormat format) {
  fail(ErrorCode::data_loss, "{} picture: its header is damaged or incomplete", name_of(format));
}

// Bytes of a header by their place; past the end it is damaged.
class HeaderBytes {
 public:
  HeaderBytes(EncodedImage bytes, ImageFormat format) : bytes_(bytes), format_(format) {}

  int64_t byte(size_t at) const {
    if (at >= bytes_.size()) damaged(format_);
    return static_cast<int64_t>(bytes_[at]);
  }
  int64_t big_endian(size_t at, int count) const {
    int64_t out = 0;
    for (int i = 0; i < count; ++i) out = out << 8 | byte(at + static_cast<size_t>(i));
    return out;
  }
  int64_t little_endian(size_t at, int count) const {
    int64_t out = 0;
    for (int i = count - 1; i >= 0; --i) out = out << 8 | byte(at + static_cast<size_t>(i));
    return out;
  }
  bool has(std::string_view text, size_t at) const { return starts_with(bytes_, text, at); }
  ImageFormat format() const { return format_; }

 private:
  EncodedImage bytes_;
  ImageFormat format_;
};

struct Size {
  int64_t width, height;
};

bool is_frame_header(int64_t marker) {
  return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

bool stands_alone(int64_t marker) {
  return marker == 0x01 || (marker >= 0xd0 && marker <= 0xd8);
}

// From marker to marker up to the frame header; what is between them is passed over, as libjpeg
// does.
Size size_of_jpeg(const HeaderBytes& bytes) {
  for (size_t at = 2;;) {
    while (bytes.byte(at) != 0xff) ++at;
    while (bytes.byte(at) == 0xff) ++at;
    const int64_t marker = bytes.byte(at++);
    if (marker == 0 || stands_alone(marker)) continue;
    if (is_frame_header(marker)) return {bytes.big_endian(at + 5, 2), bytes.big_endian(at + 3, 2)};
    if (marker == 0xda || marker == 0xd9) damaged(ImageFormat::jpeg);  // scans, or the end
    const int64_t length = bytes.big_endian(at, 2);
    if (length < 2) damaged(ImageFormat::jpeg);
    at += static_cast<size_t>(length);
  }
}

Size size_of_png(const HeaderBytes& bytes) {
  if (!bytes.has("IHDR", 12)) damaged(ImageFormat::png);
  return {bytes.big_endian(16, 4), bytes.big_endian(20, 4)};
}

Size size_of_webp(const HeaderBytes& bytes) {
  constexpr size_t kData = 20;  // of the first chunk
  constexpr int64_t kSide = (1 << 14) - 1;
  if (bytes.has("VP8X", 12))
    return {bytes.little_endian(kData + 4, 3) + 1, bytes.little_endian(kData + 7, 3) + 1};
  if (bytes.has("VP8L", 12)) {
    const int64_t bits = bytes.little_endian(kData + 1, 4);
    return {(bits & kSide) + 1, (bits >> 14 & kSide) + 1};
  }
  if (bytes.has("VP8 ", 12) && bytes.has("\x9d\x01\x2a"sv, kData + 3))
    return {bytes.little_endian(kData + 6, 2) & kSide, bytes.little_endian(kData + 8, 2) & kSide};
  damaged(ImageFormat::webp);
}

size_t size_of_colour_table(int64_t flags) {
  return (flags & 0x80) != 0 ? size_t{3} << ((flags & 7) + 1) : 0;
}

// The screen, and the first frame, which may reach beyond it.
Size size_of_gif(const HeaderBytes& bytes) {
  const Size screen{bytes.little_endian(6, 2), bytes.little_endian(8, 2)};
  for (size_t at = 13 + size_of_colour_table(bytes.byte(10));;) {
    const int64_t introducer = bytes.byte(at++);
    if (introducer == 0x2c) {
      const int64_t left = bytes.little_endian(at, 2), top = bytes.little_endian(at + 2, 2);
      const int64_t width = bytes.little_endian(at + 4, 2), height = bytes.little_endian(at + 6, 2);
      if (width == 0 || height == 0) damaged(ImageFormat::gif);
      return {std::max(screen.width, left + width), std::max(screen.height, top + height)};
    }
    if (introducer != 0x21) damaged(ImageFormat::gif);
    ++at;  // what kind of extension
    while (const int64_t block = bytes.byte(at++)) at += static_cast<size_t>(block);
  }
}

Size size_in(const HeaderBytes& bytes) {
  switch (bytes.format()) {
    case ImageFormat::jpeg:
      return size_of_jpeg(bytes);
    case ImageFormat::png:
      return size_of_png(bytes);
    case ImageFormat::webp:
      return size_of_webp(bytes);
    case ImageFormat::gif:
      return size_of_gif(bytes);
  }
  return {};
}

}  // namespace

std::string_view name_of(ImageFormat format) {
  switch (format) {
    case ImageFormat::jpeg:
      return "JPEG";
    case ImageFormat::png:
      return "PNG";
    case ImageFormat::webp:
      return "WebP";
    case ImageFormat::gif:
      return "GIF";
  }
  return "";
}

ImageFormat image_format_of(EncodedImage bytes) {
  if (starts_with(bytes, "\xff\xd8\xff"sv)) return ImageFormat::jpeg;
  if (starts_with(bytes, "\x89PNG\r\n\x1a\n"sv)) return ImageFormat::png;
  if (starts_with(bytes, "RIFF"sv) && starts_with(bytes, "WEBP"sv, 8)) return ImageFormat::webp;
  if (starts_with(bytes, "GIF87a"sv) || starts_with(bytes, "GIF89a"sv)) return ImageFormat::gif;
  if (bytes.empty()) fail(ErrorCode::invalid_argument, "picture: it has no bytes");
  fail(ErrorCode::unsupported,
       "picture: expected JPEG, PNG, WebP or GIF, got {} bytes that begin with \"{}\"",
       bytes.size(),
       first_bytes(bytes));
}

ImageHeader read_image_header(EncodedImage bytes, const ImageLimits& limits) {
  check_encoded_size(bytes, limits);
  const ImageFormat format = image_format_of(bytes);
  const Size size = size_in(HeaderBytes(bytes, format));
  check_image_size(name_of(format), size.width, size.height, limits);
  return {format, size.width, size.height};
}

}  // namespace quern
