// SPDX-License-Identifier: Apache-2.0
// WordTable: written words and how they are read, found at a place of a text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace quern::spoken {

class WordTable {
 public:
  // `entries` stand between bars, each "written=spoken", or "written" where it is read as it
  // stands.
  explicit WordTable(std::string_view entries);

  struct Match {
    size_t end = 0;           // behind the word
    std::string_view spoken;  // UTF-8; lives as long as the table
  };
  // The words that begin at text[at], in the order of the table.
  std::vector<Match> at(std::u32string_view text, size_t at) const;
  // How the whole of `text` is read; null if the table lacks it.
  const std::string* find(std::u32string_view text) const;

 private:
  struct Entry {
    std::u32string written;
    std::string spoken;
  };
  std::unordered_map<char32_t, std::vector<Entry>> by_first_;
};

}  // namespace quern::spoken
