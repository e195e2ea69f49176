// SPDX-License-Identifier: Apache-2.0
// TextRules: sets of texts as rules of xgrammar's EBNF, plain or as JSON strings.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "sampling/grammar/automaton.h"
#include "sampling/grammar/pattern.h"

namespace quern {

// How a character is written.
enum class Writing {
  plain,  // as it is
  json,   // within a JSON string: escaped where it must be, and only there
};

class TextRules {
 public:
  static constexpr size_t kMaxBytes = size_t{2} << 20, kMaxStates = 2000;

  // Returns the name of a new rule. Throws GrammarError beyond kMaxBytes in all.
  std::string add(std::string_view hint, const std::string& body);
  // A name whose rule comes later, by define().
  std::string reserve(std::string_view hint);
  void define(const std::string& name, const std::string& body);

  // Expressions.
  static std::string literal(std::string_view bytes);
  std::string of(const Pattern& pattern, Writing writing);
  // A rule for the texts of an automaton, with `closing` behind each.
  std::string of(const Automaton& automaton, Writing writing, std::string_view closing);

  const std::string& text() const { return text_; }

 private:
  std::string of_chars(const CodeSet& chars, Writing writing);
  std::vector<std::string> steps(const CodeSet& chars, Writing writing, const std::string& next);
  std::string any_escape(const std::string& next);

  std::string text_;
  int next_ = 0;
  std::map<std::string, std::string> escapes_;  // rules by what follows
};

}  // namespace quern
