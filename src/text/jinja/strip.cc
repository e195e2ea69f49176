// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/strip.h"

#include "text/jinja/budget.h"
#include "text/jinja/number_format.h"
#include "text/jinja/python_text.h"
#include "text/tokenizer/utf8.h"

namespace quern::jinja {

std::string strip(std::string_view text, Side side, const std::string* chars) {
  Budget::charge_bytes(text.size());
  const std::u32string set = chars ? decode_utf8(*chars) : std::u32string();
  const auto goes = [&](char32_t c) {
    return chars ? set.find(c) != std::u32string::npos : is_space(c);
  };
  size_t begin = text.size(), end = 0;
  for (size_t at = 0, length = 0; at < text.size(); at += length) {
    if (goes(utf8_at(text, at, length))) continue;
    begin = std::min(begin, at);
    end = at + length;
  }
  if (side == Side::right) begin = 0;
  if (side == Side::left) end = text.size();
  return std::string(begin < end ? text.substr(begin, end - begin) : std::string_view());
}

std::vector<std::string_view> split_lines(std::string_view text, bool keeps_ends) {
  Budget::charge_bytes(text.size());
  const auto is_line_end = [](char32_t c) {
    return (c >= 0xA && c <= 0xD) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
  };
  std::vector<std::string_view> lines;
  size_t start = 0;
  for (size_t at = 0, length = 0; at < text.size(); at += length) {
    if (!is_line_end(utf8_at(text, at, length))) continue;
    if (text[at] == '\r' && at + 1 < text.size() && text[at + 1] == '\n') length = 2;
    lines.push_back(text.substr(start, (keeps_ends ? at + length : at) - start));
    start = at + length;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  Budget::charge(static_cast<int64_t>(lines.size()));
  return lines;
}

std::string replace(std::string_view text, std::string_view old, std::string_view with, Int count) {
  std::string out;
  const auto append = [&](std::string_view part) {
    Budget::charge_bytes(out.size() + part.size() > out.capacity() ? out.size() + part.size()
                                                                   : part.size());
    out += part;
  };
  size_t at = 0;
  for (; count != 0; --count) {
    Budget::charge(1);
    if (old.empty()) {
      append(with);
      if (at == text.size()) break;
      size_t length = 0;
      utf8_at(text, at, length);
      append(text.substr(at, length));
      at += length;
      continue;
    }
    const size_t found = text.find(old, at);
    if (found == std::string_view::npos) break;
    append(text.substr(at, found - at));
    append(with);
    at = found + old.size();
  }
  append(text.substr(at));
  return out;
}

std::string center(std::string_view text, Int width, std::string_view fill) {
  const Int size = static_cast<Int>(char_count(text));
  if (width <= size) return std::string(text);
  require_modest(width);
  const Int space = width - size, left = space / 2 + (space & width & 1);
  std::string out;
  for (Int i = 0; i < left; ++i) out += fill;
  out += text;
  for (Int i = left; i < space; ++i) out += fill;
  return out;
}

}  // namespace quern::jinja
