// SPDX-License-Identifier: Apache-2.0
// WordTable: entries lie by their first character.
#include "text/spoken/word_table.h"

#include "text/jinja/python_text.h"
#include "text/spoken/readings.h"

namespace quern::spoken {

WordTable::WordTable(std::string_view entries) {
  while (!entries.empty()) {
    const size_t bar = entries.find('|');
    const std::string_view entry = entries.substr(0, bar);
    // A word may itself be the equals sign.
    const size_t equals = entry.find('=', 1);
    const std::u32string written = jinja::decode_utf8(entry.substr(0, equals));
    const std::string_view spoken =
        equals == std::string_view::npos ? entry : entry.substr(equals + 1);
    if (!written.empty()) by_first_[written[0]].push_back({written, std::string(spoken)});
    entries = bar == std::string_view::npos ? std::string_view() : entries.substr(bar + 1);
  }
}

std::vector<WordTable::Match> WordTable::at(std::u32string_view text, size_t at) const {
  std::vector<Match> out;
  if (at >= text.size()) return out;
  const auto found = by_first_.find(text[at]);
  if (found == by_first_.end()) return out;
  for (const Entry& entry : found->second)
    if (starts_with(text, at, entry.written))
      out.push_back({at + entry.written.size(), entry.spoken});
  return out;
}

const std::string* WordTable::find(std::u32string_view text) const {
  if (text.empty()) return nullptr;
  const auto found = by_first_.find(text[0]);
  if (found == by_first_.end()) return nullptr;
  for (const Entry& entry : found->second)
    if (entry.written == text) return &entry.spoken;
  return nullptr;
}

}  // namespace quern::spoken
