// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer/long_runs.h"

#include "text/tokenizer/unicode.h"
#include "text/tokenizer/utf8.h"

namespace quern {
namespace {

constexpr size_t kMaxPartChars = 400000;
constexpr size_t kMaxRunChars = 25000;

// Python's str.isspace: White_Space and the four separators of ASCII.
bool is_python_space(char32_t c) {
  return (char_class(c) & kSpace) != 0 || (c >= 0x1C && c <= 0x1F);
}

}  // namespace

std::vector<std::string_view> cut_long_runs(std::string_view text) {
  std::vector<std::string_view> parts;
  size_t begin = 0, chars = 0, run = 0;
  bool run_is_space = false;
  for (size_t at = 0, length = 0; at < text.size(); at += length, ++chars) {
    const bool is_space = is_python_space(utf8_at(text, at, length));
    const bool is_full = chars == kMaxPartChars;
    run = is_full || is_space != run_is_space ? 1 : run + 1;
    run_is_space = is_space;
    if (is_full) chars = 0;
    if (!is_full && run <= kMaxRunChars) continue;
    parts.push_back(text.substr(begin, at - begin));
    begin = at;
    run = 1;
  }
  if (begin < text.size()) parts.push_back(text.substr(begin));
  return parts;
}

}  // namespace quern
