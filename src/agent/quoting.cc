// SPDX-License-Identifier: Apache-2.0
#include "agent/quoting.h"

#include <algorithm>

namespace quern::agent {

std::string shell_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'')
      out += "'\\''";
    else if (c != '\0')
      out += c;
  }
  return out + "'";
}

std::string shell_command(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + shell_quoted(word);
  return out;
}

bool is_typable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

std::vector<std::string> input_text_pieces(std::string_view text) {
  constexpr size_t kMostBytes = 200;  // a slow phone takes a second for as many keys
  std::vector<std::string> out;
  std::string piece;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_pair = i > 0 && text[i - 1] == '%' && text[i] == 's';
    if (!piece.empty() && (is_pair || piece.size() >= kMostBytes)) {
      out.push_back(std::move(piece));
      piece.clear();
    }
    if (text[i] == ' ')
      piece += "%s";
    else
      piece += text[i];
  }
  if (!piece.empty()) out.push_back(std::move(piece));
  return out;
}

}  // namespace quern::agent
