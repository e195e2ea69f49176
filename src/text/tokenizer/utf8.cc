// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer/utf8.h"

namespace quern {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// What may follow a first byte: the count of continuation bytes and the range of the first of them
// (Unicode, table 3-7).
struct Lead {
  int continuations;  // -1: cannot start a character
  unsigned char low = 0x80, high = 0xBF;
};

Lead lead_of(unsigned char byte) {
  if (byte < 0x80) return {0};
  if (byte < 0xC2) return {-1};
  if (byte < 0xE0) return {1};
  if (byte == 0xE0) return {2, 0xA0, 0xBF};
  if (byte == 0xED) return {2, 0x80, 0x9F};  // no surrogates
  if (byte < 0xF0) return {2};
  if (byte == 0xF0) return {3, 0x90, 0xBF};
  if (byte < 0xF4) return {3};
  if (byte == 0xF4) return {3, 0x80, 0x8F};
  return {-1};
}

}  // namespace

Utf8Step utf8_step(std::string_view text, size_t at) {
  const Lead lead = lead_of(static_cast<unsigned char>(text[at]));
  Utf8Step step;
  if (lead.continuations < 0) return step;
  for (int i = 1; i <= lead.continuations; ++i) {
    if (at + i >= text.size()) {
      step.is_cut = true;
      return step;
    }
    const auto byte = static_cast<unsigned char>(text[at + i]);
    if (i == 1 ? byte < lead.low || byte > lead.high : byte < 0x80 || byte > 0xBF) return step;
    step.length = static_cast<uint8_t>(i + 1);
  }
  size_t length = 0;
  step.code_point = utf8_at(text, at, length);
  step.is_valid = true;
  return step;
}

size_t utf8_valid_prefix(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const Utf8Step step = utf8_step(text, at);
    if (!step.is_valid) return at;
    at += step.length;
  }
  return text.size();
}

void append_utf8(char32_t c, std::string& out) {
  const auto tail = [&](int shift) { out += static_cast<char>(0x80 | ((c >> shift) & 0x3F)); };
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | (c >> 6));
    tail(0);
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | (c >> 12));
    tail(6), tail(0);
  } else {
    out += static_cast<char>(0xF0 | (c >> 18));
    tail(12), tail(6), tail(0);
  }
}

size_t append_lossy_utf8(std::string_view text, bool is_final, std::string& out) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    if (step.is_cut && !is_final) return at;
    if (step.is_valid)
      out.append(text.substr(at, step.length));
    else
      out.append(kReplacement);
    // A cut character is one bad part to the end of the text, however many of its bytes came.
    at = step.is_cut ? text.size() : at + step.length;
  }
  return text.size();
}

}  // namespace quern
