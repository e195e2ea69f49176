// SPDX-License-Identifier: Apache-2.0
// UTF-8: one step of decoding, validation, replacement of broken parts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace quern {

struct Utf8Step {
  char32_t code_point = 0;  // meaningful if is_valid
  uint8_t length =
      1;  // bytes: of the character, or of the maximal bad part (Unicode 15, section 3.9)
  bool is_valid = false;
  bool is_cut = false;  // bad only because the text ends inside the character
};

// Decodes what stands at text[at]; `at` must be inside.
Utf8Step utf8_step(std::string_view text, size_t at);

// The character at text[at] of text known to be valid; `length` becomes its bytes.
inline char32_t utf8_at(std::string_view text, size_t at, size_t& length) {
  const auto byte = [&](size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[at + i]));
  };
  const char32_t first = byte(0);
  if (first < 0x80) return length = 1, first;
  if (first < 0xE0) return length = 2, (first & 0x1F) << 6 | (byte(1) & 0x3F);
  if (first < 0xF0)
    return length = 3, (first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
  return length = 4,
         (first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
}

// Offset of the first byte that is not part of valid UTF-8; text.size() if all is valid.
size_t utf8_valid_prefix(std::string_view text);

void append_utf8(char32_t code_point, std::string& out);

// Appends `text` with U+FFFD for each maximal bad part and returns how many bytes were used. A
// character cut by the end of the text is left unused (at most 3 bytes), unless is_final: then it
// counts as one bad part.
size_t append_lossy_utf8(std::string_view text, bool is_final, std::string& out);

}  // namespace quern
