// SPDX-License-Identifier: Apache-2.0
// Cuts text into the words that byte-pair encoding never merges across.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/regex.h"
#include "text/tokenizer/word_patterns.h"

namespace quern {

// What a split does with the parts that match its pattern (names as in tokenizer.json).
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

// The classes of single characters that some pre-tokenizers split at.
enum class SplitClass { none, numeric, space, punctuation };

// One pass over every piece. Exactly one of `match`, `regex`, `literal` and `chars` says where it
// splits; with none of them the pass only puts a space in front.
struct SplitStep {
  MatchAt match = nullptr;
  std::optional<Regex> regex;
  std::string literal;
  SplitClass chars = SplitClass::none;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool inverts = false;  // what matches counts as what does not, and the other way round
  bool adds_prefix_space =
      false;  // before splitting, a piece that does not begin with a space gets one
};

// A step that splits at a regular expression: by hand if the pattern is known, else through
// Oniguruma.
SplitStep split_at_regex(std::string_view regex, SplitBehavior behavior = SplitBehavior::isolated);
SplitStep split_at_class(SplitClass chars, SplitBehavior behavior);

// Pieces of a text, in order. They point into the text or into `owned`.
struct Pieces {
  std::vector<std::string_view> views;
  std::deque<std::string> owned;
};

class PreTokenizer {
 public:
  void add(SplitStep step) { steps_.push_back(std::move(step)); }
  // The words of `text` (valid UTF-8, outlives the result); none of them is empty. Throws exhausted
  // if a pattern that only Oniguruma knows goes back too often. Thread-safe.
  Pieces split(std::string_view text) const;

 private:
  std::vector<SplitStep> steps_;
};

}  // namespace quern
