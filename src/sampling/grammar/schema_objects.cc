// SPDX-License-Identifier: Apache-2.0
// Objects as rules.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "sampling/grammar/grammar_error.h"
#include "sampling/grammar/schema_writer.h"

namespace quern {
namespace {

constexpr size_t kMaxPatterns = 4, kMaxStates = 2000, kMaxUnordered = 5;

std::string joined(const std::vector<std::string>& options) {
  std::string out;
  for (const std::string& option : options) out += (out.empty() ? "" : " | ") + option;
  return out;
}

}  // namespace

// Keys by name, in the order in which they are written, and classes of other ones.
struct SchemaWriter::Keys {
  struct Named {
    std::string pair;
    bool is_required = false;
  };
  std::vector<Named> named;
  std::vector<std::string> free;  // expressions of a pair
  bool is_impossible = false;     // a required one cannot be written
  bool is_ordered = false;        // one list of properties names them all
};

std::string SchemaWriter::pair(const std::string& key, const Goal& goal) {
  return key + kColon + rule_of(goal);
}

SchemaWriter::Keys SchemaWriter::keys_of(const ObjectShape& object) {
  std::vector<std::string> order;
  const auto add = [&](const std::string& name) {
    if (std::find(order.begin(), order.end(), name) == order.end()) order.push_back(name);
  };
  for (const PropertyLayer& layer : object.layers)
    for (const auto& [name, goal] : layer.named) add(name);
  for (const std::string& name : object.required) add(name);
  Keys keys;
  for (const std::string& name : order) {
    const Goal goal = expander_.goal_of(object, name);
    const bool is_required =
        std::find(object.required.begin(), object.required.end(), name) != object.required.end();
    const Json& text = *literals_.emplace_back(std::make_unique<Json>(name));
    Goal as_name = {Demand{&text, "", "", true, false}};
    for (const Goal& rule : object.names) as_name.insert(rule.begin(), rule.end());
    const bool is_allowed =
        !expander_.is_empty(goal) && (object.names.empty() || !expander_.is_empty(as_name));
    keys.is_impossible |= is_required && !is_allowed;
    if (is_allowed)
      keys.named.push_back({pair(TextRules::literal(text.dump()), goal), is_required});
  }
  keys.is_ordered =
      order.size() > kMaxUnordered ||
      std::any_of(object.layers.begin(), object.layers.end(), [&](const PropertyLayer& layer) {
        return layer.is_list && layer.named.size() == order.size();
      });
  add_free_keys(object, order, keys);
  return keys;
}

// Keys that are in no list of names, in classes by the patterns that they match.
void SchemaWriter::add_free_keys(const ObjectShape& object,
                                 const std::vector<std::string>& order,
                                 Keys& keys) {
  std::vector<std::string> patterns;
  for (const PropertyLayer& layer : object.layers)
    for (const auto& [source, goal] : layer.patterns)
      if (std::find(patterns.begin(), patterns.end(), source) == patterns.end())
        patterns.push_back(source);
  if (patterns.size() > kMaxPatterns)
    fail_grammar("", "patternProperties with more than {} patterns for one object", kMaxPatterns);
  Goal name_goal;
  for (const Goal& rule : object.names) name_goal.insert(rule.begin(), rule.end());
  for (size_t matches = 0; matches < size_t{1} << patterns.size(); ++matches) {
    Goal goal;
    for (const PropertyLayer& layer : object.layers) {
      bool is_matched = false;
      for (const auto& [source, more] : layer.patterns) {
        const auto place = std::find(patterns.begin(), patterns.end(), source) - patterns.begin();
        if ((matches >> place & 1) == 0) continue;
        goal.insert(more.begin(), more.end());
        is_matched = true;
      }
      if (!is_matched) goal.insert(layer.others.begin(), layer.others.end());
    }
    if (expander_.is_empty(goal)) continue;
    for (const Branch& branch : expander_.expand(name_goal)) {
      if (branch.type != ValueType::string) continue;
      StringShape names = branch.string;
      names.excluded.insert(order.begin(), order.end());
      for (size_t i = 0; i < patterns.size(); ++i)
        (matches >> i & 1 ? names.patterns : names.not_patterns).insert(patterns[i]);
      const Automaton texts = texts_of(names, expander_);
      if (!texts.is_empty())
        keys.free.push_back(pair("\"\\\"\" " + rules_.of(texts, Writing::json, "\""), goal));
    }
  }
}

std::string SchemaWriter::of_object(const ObjectShape& object) {
  const Keys keys = keys_of(object);
  if (keys.is_impossible) return "";
  const auto required = std::count_if(
      keys.named.begin(), keys.named.end(), [](const auto& key) { return key.is_required; });
  if (object.min <= required && object.max < 0)
    return keys.is_ordered ? object_rules(keys) : unordered_object_rules(keys);
  // Another key might be written twice, and then counts once.
  if (object.min > std::max<int64_t>(required, 1) && !keys.free.empty())
    fail_grammar(object.min_at,
                 "{} properties or more are enforced where all names are known; here others may be "
                 "written twice",
                 object.min);
  return counted_object_rules(keys, object);
}

// `open` is what may follow when something is written and i names are passed; `closed` the same,
// but with no other key before the next name, so that each object is written in one way only.
std::string SchemaWriter::object_rules(const Keys& keys) {
  const std::string free = keys.free.empty() ? "" : rules_.add("p", joined(keys.free));
  const auto opened = [&](const std::string& closed) {
    return free.empty() ? closed : rules_.add("o", "(" + kComma + free + ")* " + closed);
  };
  std::string closed = rules_.add("o", kEndObject), open = opened(closed);
  std::string first = "\"}\"";  // nothing is written yet
  for (size_t i = keys.named.size(); i-- > 0;) {
    const auto& [text, is_required] = keys.named[i];
    const std::string taken = text + " " + open;
    first = rules_.add("f", is_required ? taken : taken + " | " + first);
    const std::string next = kComma + taken;
    closed = rules_.add("o", is_required ? next : next + " | " + closed);
    open = opened(closed);
  }
  return kOpenObject + "(" + first + (free.empty() ? "" : " | " + free + " " + open) + ")";
}

// A rule for each set of names that are written.
std::string SchemaWriter::unordered_object_rules(const Keys& keys) {
  const std::string free = keys.free.empty() ? "" : rules_.add("p", joined(keys.free));
  const size_t n = keys.named.size();
  std::vector<std::string> open(size_t{1} << n);
  std::vector<std::string> first;
  for (size_t written = open.size(); written-- > 0;) {
    std::vector<std::string> options;
    bool may_end = true;
    for (size_t i = 0; i < n; ++i) {
      if ((written >> i & 1) != 0) continue;
      may_end &= !keys.named[i].is_required;
      const std::string taken = keys.named[i].pair + " " + open[written | size_t{1} << i];
      options.push_back(kComma + taken);
      if (written == 0) first.push_back(taken);
    }
    if (may_end) options.push_back(kEndObject);
    if (may_end && written == 0) first.push_back("\"}\"");
    const std::string closed = rules_.add("o", joined(options));
    open[written] = free.empty() ? closed : rules_.add("o", "(" + kComma + free + ")* " + closed);
  }
  if (!free.empty()) first.push_back(free + " " + open[0]);
  return kOpenObject + "(" + joined(first) + ")";
}

// The same with the number of properties in the state, as far as it matters. A rule without a name
// cannot end.
std::string SchemaWriter::counted_object_rules(const Keys& keys, const ObjectShape& object) {
  const auto n = keys.named.size();
  const int64_t cap = object.max < 0 ? object.min : object.max;
  if (static_cast<size_t>(cap + 1) > kMaxStates / (n + 1))
    fail_grammar(object.min_at, "counting up to {} properties needs too many states", cap);
  const std::string free = keys.free.empty() ? "" : rules_.add("p", joined(keys.free));
  std::vector<std::string> open(static_cast<size_t>(cap) + 1), closed_above(open.size());  // [c]
  for (size_t i = n + 1; i-- > 0;) {
    std::vector<std::string> closed(open.size());
    const std::vector<std::string> above = open;
    for (auto c = static_cast<size_t>(cap) + 1; c-- > 0;) {
      const bool has_room = object.max < 0 || static_cast<int64_t>(c) < object.max;
      const size_t next = std::min(c + 1, static_cast<size_t>(cap));
      const std::string comma = c == 0 ? "" : kComma;
      std::vector<std::string> options;
      if (i == n) {
        if (static_cast<int64_t>(c) >= object.min) options.push_back(kEndObject);
      } else {
        const auto& [text, is_required] = keys.named[i];
        if (has_room && !above[next].empty()) options.push_back(comma + text + " " + above[next]);
        if (!is_required && !closed_above[c].empty()) options.push_back(closed_above[c]);
      }
      if (!options.empty()) closed[c] = rules_.add("n", joined(options));
      open[c] = closed[c];
      if (free.empty() || !has_room) continue;
      const bool is_loop = next == c;
      if (is_loop && closed[c].empty()) continue;
      const std::string after = is_loop ? rules_.reserve("n") : open[next];
      if (after.empty()) continue;
      const std::string take = comma + free + " " + after;
      const std::string body = closed[c].empty() ? take : take + " | " + closed[c];
      if (is_loop) rules_.define(after, body);
      open[c] = is_loop ? after : rules_.add("n", body);
    }
    closed_above = closed;
  }
  return open[0].empty() ? "" : kOpenObject + open[0];
}

}  // namespace quern
