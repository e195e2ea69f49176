// SPDX-License-Identifier: Apache-2.0
// Families that write a line break as text ("<ret>"): the way back, whole or in a stream.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace quern {

// Turns each `mark` in `bytes` into "\n"; nothing for an empty mark.
inline void replace_line_breaks(std::string_view mark, std::string& bytes) {
  if (mark.empty()) return;
  for (size_t at = bytes.find(mark); at != std::string::npos; at = bytes.find(mark, at))
    bytes.replace(at, mark.size(), "\n");
}

// How many bytes at the end of `bytes` may be the beginning of a mark.
inline size_t begun_line_break(std::string_view mark, std::string_view bytes) {
  if (mark.empty()) return 0;
  for (size_t n = std::min(mark.size() - 1, bytes.size()); n > 0; --n)
    if (bytes.ends_with(mark.substr(0, n))) return n;
  return 0;
}

}  // namespace quern
