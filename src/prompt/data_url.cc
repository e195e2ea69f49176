// SPDX-License-Identifier: Apache-2.0
#include "prompt/data_url.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "base/error.h"

namespace quern {
namespace {

constexpr std::array<int8_t, 256> make_digits() {
  std::array<int8_t, 256> digits{};
  for (auto& d : digits) d = -1;
  for (int i = 0; i < 26; ++i) {
    digits['A' + i] = static_cast<int8_t>(i);
    digits['a' + i] = static_cast<int8_t>(26 + i);
  }
  for (int i = 0; i < 10; ++i) digits['0' + i] = static_cast<int8_t>(52 + i);
  digits['+'] = 62;
  digits['/'] = 63;
  return digits;
}
constexpr std::array<int8_t, 256> kDigits = make_digits();

int digit(std::string_view text, size_t at) {
  const auto c = static_cast<unsigned char>(text[at]);
  if (kDigits[c] < 0)
    fail(ErrorCode::invalid_argument,
         "base64: byte 0x{:02x} at position {} is not in its alphabet",
         c,
         at);
  return kDigits[c];
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool ends_with_base64(std::string_view header) {
  constexpr std::string_view kMark = ";base64";
  if (header.size() < kMark.size()) return false;
  return std::equal(kMark.begin(), kMark.end(), header.end() - kMark.size(), [](char mark, char c) {
    return mark == std::tolower(static_cast<unsigned char>(c));
  });
}

}  // namespace

std::string decode_base64(std::string_view text) {
  if (text.size() % 4 != 0)
    fail(ErrorCode::invalid_argument,
         "base64: {} characters; expected a multiple of 4, padded with \"=\"",
         text.size());
  size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  const size_t digits = text.size() - padding;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  uint32_t group = 0;
  for (size_t i = 0; i < digits; ++i) {
    group = group << 6 | static_cast<uint32_t>(digit(text, i));
    if (i % 4 > 0) bytes += static_cast<char>(group >> (6 - 2 * (i % 4)));
  }
  return bytes;
}

std::string decode_percent(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      bytes += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1,
              low = high < 0 ? -1 : hex_digit(text[i + 2]);
    if (low < 0)
      fail(ErrorCode::invalid_argument, "\"%\" at position {} needs two hexadecimal digits", i);
    bytes += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return bytes;
}

std::string decode_data_url(std::string_view url, size_t max_bytes) {
  constexpr std::string_view kScheme = "data:";
  const size_t comma = url.find(',');
  if (!url.starts_with(kScheme) || comma == std::string_view::npos)
    fail(ErrorCode::invalid_argument, "expected \"data:<type>;base64,<data>\"; there is no comma");
  const std::string_view header = url.substr(kScheme.size(), comma - kScheme.size()),
                         data = url.substr(comma + 1);
  const bool is_base64 = ends_with_base64(header);
  const size_t least =
      is_base64 ? data.size() / 4 * 3 - std::min<size_t>(data.size() / 4 * 3, 2) : data.size() / 3;
  if (least > max_bytes)
    fail(ErrorCode::exhausted,
         "data: URL of about {} bytes; at most {} are accepted",
         least,
         max_bytes);
  return is_base64 ? decode_base64(data) : decode_percent(data);
}

}  // namespace quern
