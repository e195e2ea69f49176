// SPDX-License-Identifier: Apache-2.0
#include "sampling/grammar/automaton.h"

#include <algorithm>
#include <map>

#include "sampling/grammar/grammar_error.h"

namespace quern {
namespace {

constexpr size_t kMaxParts = 20000;
constexpr int kDead = -1;

[[noreturn]] void fail_size() {
  fail_grammar("",
               "the constraints on a text or number need an automaton of more than {} states; use "
               "smaller bounds or a simpler pattern",
               Automaton::kMaxStates);
}

// Thompson's construction: edges that consume, and those that do not.
struct Nfa {
  struct Node {
    std::vector<std::pair<CodeSet, int>> edges;
    std::vector<int> empty;
  };
  std::vector<Node> nodes;

  int add() {
    if (nodes.size() >= kMaxParts) fail_size();
    nodes.emplace_back();
    return static_cast<int>(nodes.size()) - 1;
  }
  void join(int from, int to) { nodes[static_cast<size_t>(from)].empty.push_back(to); }

  // Returns the node behind `p`.
  int build(const Pattern& p, int from) {
    switch (p.kind) {
      case Pattern::Kind::chars: {
        const int to = add();
        nodes[static_cast<size_t>(from)].edges.emplace_back(p.chars, to);
        return to;
      }
      case Pattern::Kind::sequence:
        for (const Pattern& part : p.parts) from = build(part, from);
        return from;
      case Pattern::Kind::choice: {
        const int to = add();
        for (const Pattern& part : p.parts) {
          const int begin = add();
          join(from, begin);
          join(build(part, begin), to);
        }
        return to;
      }
      case Pattern::Kind::repeat:
        return build_repeat(p, from);
      case Pattern::Kind::start:
      case Pattern::Kind::end:
        break;
    }
    return from;
  }

  int build_repeat(const Pattern& p, int from) {
    for (int i = 0; i < p.min; ++i) from = build(p.parts[0], from);
    const int to = add();
    if (p.max == Pattern::kNoLimit) {
      const int loop = add();
      join(from, loop);
      join(build(p.parts[0], loop), loop);
      join(loop, to);
      return to;
    }
    join(from, to);
    for (int i = p.min; i < p.max; ++i) {
      from = build(p.parts[0], from);
      join(from, to);
    }
    return to;
  }

  void close(std::set<int>& set) const {
    std::vector<int> open(set.begin(), set.end());
    while (!open.empty()) {
      const int node = open.back();
      open.pop_back();
      for (const int next : nodes[static_cast<size_t>(node)].empty)
        if (set.insert(next).second) open.push_back(next);
    }
  }
};

// Cuts the given sets into pieces, each of which lies wholly within or without every one of them.
std::vector<CodeSet> pieces_of(const std::vector<const CodeSet*>& sets) {
  std::vector<CodeSet> out;
  for (const CodeSet* set : sets) {
    CodeSet rest = *set;
    std::vector<CodeSet> next;
    for (const CodeSet& piece : out) {
      if (CodeSet common = piece & rest; !common.is_empty()) next.push_back(std::move(common));
      if (CodeSet apart = piece - rest; !apart.is_empty()) next.push_back(std::move(apart));
    }
    for (const CodeSet& piece : out) rest = rest - piece;
    if (!rest.is_empty()) next.push_back(std::move(rest));
    out = std::move(next);
  }
  return out;
}

void add_edge(Automaton::State& state, const CodeSet& chars, int to) {
  for (Automaton::Edge& edge : state.edges)
    if (edge.to == to) {
      edge.chars = edge.chars | chars;
      return;
    }
  state.edges.push_back({chars, to});
}

int step(const std::vector<Automaton::State>& states, int state, uint32_t code) {
  if (state == kDead) return kDead;
  for (const Automaton::Edge& edge : states[static_cast<size_t>(state)].edges)
    if (edge.chars.has(code)) return edge.to;
  return kDead;
}

}  // namespace

Automaton Automaton::of(const Pattern& pattern) {
  Nfa nfa;
  const int begin = nfa.add();
  const int end = nfa.build(pattern, begin);
  std::map<std::set<int>, int> numbers;
  std::vector<std::set<int>> sets;
  Automaton out;
  const auto number_of = [&](std::set<int> set) {
    nfa.close(set);
    const auto [it, is_new] = numbers.emplace(set, static_cast<int>(sets.size()));
    if (is_new) {
      if (sets.size() >= kMaxStates) fail_size();
      out.states_.push_back({{}, set.count(end) > 0});
      sets.push_back(std::move(set));
    }
    return it->second;
  };
  number_of({begin});
  for (size_t i = 0; i < sets.size(); ++i) {
    const std::set<int> set = sets[i];
    std::vector<const CodeSet*> labels;
    for (const int node : set)
      for (const auto& [chars, to] : nfa.nodes[static_cast<size_t>(node)].edges)
        labels.push_back(&chars);
    for (const CodeSet& piece : pieces_of(labels)) {
      std::set<int> next;
      for (const int node : set)
        for (const auto& [chars, to] : nfa.nodes[static_cast<size_t>(node)].edges)
          if (!(chars & piece).is_empty()) next.insert(to);
      const int to = number_of(std::move(next));
      add_edge(out.states_[i], piece, to);
    }
  }
  out.trim();
  return out;
}

Automaton Automaton::of_texts(const std::set<std::string>& texts) {
  std::vector<State> states(1);
  for (const std::string& text : texts) {
    int at = 0;
    for (const char32_t code : code_points(text)) {
      int next = step(states, at, code);
      if (next == kDead) {
        if (states.size() >= kMaxParts) fail_size();
        next = static_cast<int>(states.size());
        states[static_cast<size_t>(at)].edges.push_back({CodeSet::one(code), next});
        states.emplace_back();
      }
      at = next;
    }
    states[static_cast<size_t>(at)].is_accepting = true;
  }
  return of_states(std::move(states));
}

Automaton Automaton::of_states(std::vector<State> states) {
  Automaton out;
  out.states_ = std::move(states);
  out.trim();
  return out;
}

Automaton Automaton::lengths(int min, int max) {
  const int last = max == Pattern::kNoLimit ? min : max;
  if (last < 0 || static_cast<size_t>(last) >= kMaxStates) fail_size();
  std::vector<State> states(static_cast<size_t>(last) + 1);
  for (int i = 0; i <= last; ++i) {
    State& state = states[static_cast<size_t>(i)];
    state.is_accepting = i >= min;
    if (i < last) state.edges.push_back({CodeSet::all(), i + 1});
    if (i == last && max == Pattern::kNoLimit) state.edges.push_back({CodeSet::all(), i});
  }
  return of_states(std::move(states));
}

Automaton Automaton::operator&(const Automaton& other) const {
  return product(*this, other, [](bool a, bool b) { return a && b; });
}
Automaton Automaton::operator|(const Automaton& other) const {
  return product(*this, other, [](bool a, bool b) { return a || b; });
}
Automaton Automaton::operator-(const Automaton& other) const {
  return product(*this, other, [](bool a, bool b) { return a && !b; });
}
Automaton Automaton::operator~() const {
  return lengths(0, Pattern::kNoLimit) - *this;
}

bool Automaton::is_empty() const {
  return states_.size() == 1 && !states_[0].is_accepting && states_[0].edges.empty();
}

bool Automaton::accepts(std::string_view utf8) const {
  int at = 0;
  for (const char32_t code : code_points(utf8)) at = step(states_, at, code);
  return at != kDead && states_[static_cast<size_t>(at)].is_accepting;
}

Automaton Automaton::product(const Automaton& a, const Automaton& b, Keeps keeps) {
  std::map<std::pair<int, int>, int> numbers;
  std::vector<std::pair<int, int>> pairs;
  Automaton out;
  const auto accepts_at = [](const Automaton& of, int state) {
    return state != kDead && of.states_[static_cast<size_t>(state)].is_accepting;
  };
  const auto number_of = [&](int x, int y) {
    const auto [it, is_new] = numbers.emplace(std::pair(x, y), static_cast<int>(pairs.size()));
    if (is_new) {
      if (pairs.size() >= kMaxStates) fail_size();
      pairs.emplace_back(x, y);
      out.states_.push_back({{}, keeps(accepts_at(a, x), accepts_at(b, y))});
    }
    return it->second;
  };
  static const std::vector<Edge> none;
  const auto edges_of = [](const Automaton& of, int state) -> const std::vector<Edge>& {
    return state == kDead ? none : of.states_[static_cast<size_t>(state)].edges;
  };
  number_of(0, 0);
  for (size_t i = 0; i < pairs.size(); ++i) {
    const auto [x, y] = pairs[i];
    CodeSet left = CodeSet::all();  // what the edges of `a` do not cover
    for (const Edge& ea : edges_of(a, x)) {
      left = left - ea.chars;
      CodeSet alone = ea.chars;
      for (const Edge& eb : edges_of(b, y)) {
        const CodeSet common = ea.chars & eb.chars;
        if (common.is_empty()) continue;
        alone = alone - common;
        const int to = number_of(ea.to, eb.to);
        add_edge(out.states_[i], common, to);
      }
      if (!alone.is_empty() && keeps(true, false)) {
        const int to = number_of(ea.to, kDead);
        add_edge(out.states_[i], alone, to);
      }
    }
    for (const Edge& eb : edges_of(b, y))
      if (const CodeSet only = eb.chars & left; !only.is_empty() && keeps(false, true)) {
        const int to = number_of(kDead, eb.to);
        add_edge(out.states_[i], only, to);
      }
  }
  out.trim();
  return out;
}

void Automaton::trim() {
  std::vector<std::vector<int>> sources(states_.size());
  for (size_t i = 0; i < states_.size(); ++i)
    for (const Edge& edge : states_[i].edges)
      sources[static_cast<size_t>(edge.to)].push_back(static_cast<int>(i));
  std::vector<bool> is_live(states_.size(), false);
  std::vector<int> open;
  const auto mark = [&](int state) {
    if (is_live[static_cast<size_t>(state)]) return;
    is_live[static_cast<size_t>(state)] = true;
    open.push_back(state);
  };
  for (size_t i = 0; i < states_.size(); ++i)
    if (states_[i].is_accepting) mark(static_cast<int>(i));
  while (!open.empty()) {
    const int state = open.back();
    open.pop_back();
    for (const int source : sources[static_cast<size_t>(state)]) mark(source);
  }
  is_live[0] = true;  // the start stays
  std::vector<int> place(states_.size(), kDead);
  std::vector<State> kept;
  for (size_t i = 0; i < states_.size(); ++i)
    if (is_live[i]) {
      place[i] = static_cast<int>(kept.size());
      kept.push_back(std::move(states_[i]));
    }
  for (State& state : kept) {
    std::erase_if(state.edges, [&](const Edge& e) { return place[static_cast<size_t>(e.to)] < 0; });
    for (Edge& edge : state.edges) edge.to = place[static_cast<size_t>(edge.to)];
  }
  states_ = std::move(kept);
}

}  // namespace quern
