// SPDX-License-Identifier: Apache-2.0
// Automaton: a set of texts as a deterministic automaton over code points. Sets are closed under
// and, or and not, which is what constraints of a schema on the same string or number come down to.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "sampling/grammar/pattern.h"

namespace quern {

class Automaton {
 public:
  static constexpr size_t kMaxStates = 4000;

  struct Edge {
    CodeSet chars;
    int to = 0;
  };
  struct State {
    std::vector<Edge> edges;  // disjoint; a character of none is refused
    bool is_accepting = false;
  };

  // All throw GrammarError beyond kMaxStates.
  static Automaton of(const Pattern& anchor_free);
  static Automaton of_texts(const std::set<std::string>& texts);
  static Automaton of_states(std::vector<State> states);  // the first is the start
  static Automaton lengths(int min, int max);             // in code points; max may be kNoLimit

  Automaton operator&(const Automaton& other) const;
  Automaton operator|(const Automaton& other) const;
  Automaton operator-(const Automaton& other) const;
  Automaton operator~() const;

  bool is_empty() const;
  bool accepts(std::string_view utf8) const;
  // Every state can be reached and leads to an accepting one (but the start of an empty set).
  const std::vector<State>& states() const { return states_; }

 private:
  using Keeps = bool (*)(bool in_first, bool in_second);
  static Automaton product(const Automaton& a, const Automaton& b, Keeps keeps);
  void trim();

  std::vector<State> states_;
};

}  // namespace quern
