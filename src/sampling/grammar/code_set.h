// SPDX-License-Identifier: Apache-2.0
// CodeSet: a set of Unicode scalar values (no surrogates), as sorted disjoint ranges.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

struct CodeRange {
  uint32_t first = 0, last = 0;
  auto operator<=>(const CodeRange&) const = default;
};

class CodeSet {
 public:
  static constexpr uint32_t kMax = 0x10FFFF;

  CodeSet() = default;
  static CodeSet all();
  static CodeSet one(uint32_t code) { return range(code, code); }
  static CodeSet range(uint32_t first, uint32_t last);  // without the surrogates in it
  static CodeSet of(std::string_view ascii);            // each character of it

  bool is_empty() const { return ranges_.empty(); }
  bool is_all() const { return *this == all(); }
  bool has(uint32_t code) const;
  const std::vector<CodeRange>& ranges() const { return ranges_; }

  CodeSet operator|(const CodeSet& other) const;
  CodeSet operator&(const CodeSet& other) const;
  CodeSet operator~() const;
  CodeSet operator-(const CodeSet& other) const { return *this & ~other; }
  auto operator<=>(const CodeSet&) const = default;

 private:
  std::vector<CodeRange> ranges_;
};

// Valid UTF-8 (bad bytes give U+FFFD).
std::u32string code_points(std::string_view utf8);
std::string utf8_of(uint32_t code);

}  // namespace quern
