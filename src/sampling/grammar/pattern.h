// SPDX-License-Identifier: Apache-2.0
// Pattern: a regular expression as a tree. The dialect is what ECMA 262 and Python have in common,
// less what is not regular (back references) or looks around.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sampling/grammar/code_set.h"

namespace quern {

struct Pattern {
  enum class Kind { chars, sequence, choice, repeat, start, end };
  static constexpr int kNoLimit = -1;

  Kind kind = Kind::sequence;
  CodeSet chars;                // chars
  std::vector<Pattern> parts;   // sequence (none: the empty text), choice, repeat (one)
  int min = 0, max = kNoLimit;  // repeat

  static Pattern of(CodeSet chars);
  static Pattern text(std::string_view utf8);
  static Pattern sequence(std::vector<Pattern> parts);
  static Pattern choice(std::vector<Pattern> parts);
  static Pattern repeat(Pattern part, int min, int max = kNoLimit);
};

// Throws GrammarError naming the construct and its place.
Pattern parse_pattern(std::string_view source);

// The same without anchors: texts that match whole, or texts that contain a match. Throws
// GrammarError for an anchor within.
Pattern whole_match(const Pattern& pattern);
Pattern search_match(const Pattern& pattern);

}  // namespace quern
