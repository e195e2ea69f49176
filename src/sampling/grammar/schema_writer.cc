// SPDX-License-Identifier: Apache-2.0
#include "sampling/grammar/schema_writer.h"

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>

#include "sampling/grammar/grammar_error.h"
#include "sampling/grammar/schema_branches.h"

namespace quern {
namespace {

constexpr int64_t kMaxRepeat = 100000, kMaxStates = 1000;
constexpr size_t kMaxUnique = 7;
constexpr int64_t kMaxCounted = 64;

std::string json_text(const std::string& text) {
  return Json(text).dump();
}

std::string joined(const std::vector<std::string>& options) {
  std::string out;
  for (const std::string& option : options) out += (out.empty() ? "" : " | ") + option;
  return out;
}

// `part` is one element: a group, a class or a name.
std::string repeated(const std::string& part,
                     int64_t min,
                     int64_t max,
                     const std::string& pointer) {
  if (min > kMaxRepeat || max > kMaxRepeat)
    fail_grammar(pointer, "more than {} repetitions", kMaxRepeat);
  if (max < 0) return min == 0 ? part + "*" : format("{}{{{},}}", part, min);
  return max == 0 ? "\"\"" : format("{}{{{},{}}}", part, min, max);
}

}  // namespace

std::string SchemaWriter::write(const Goal& root) {
  if (expander_.expand(root).empty()) fail_grammar("", "no value satisfies this schema");
  rules_.define("root", rule_of(root));
  while (!open_.empty()) {
    const auto [name, goal] = open_.front();
    open_.pop_front();
    std::vector<std::string> options;
    at_pointer(goal.empty() ? "" : goal.begin()->pointer, [&, &goal = goal] {
      for (const Branch& branch : expander_.expand(goal))
        if (std::string option = of(branch); !option.empty()) options.push_back(std::move(option));
    });
    if (options.empty())
      fail_grammar(goal.empty() ? "" : goal.begin()->pointer, "no value satisfies this schema");
    rules_.define(name, joined(options));
  }
  return rules_.text();
}

std::string SchemaWriter::rule_of(const Goal& goal) {
  const auto [entry, is_new] = names_.emplace(goal, "");
  if (is_new) {
    entry->second = rules_.reserve("v");
    open_.emplace_back(entry->second, goal);
  }
  return entry->second;
}

std::string SchemaWriter::of(const Branch& b) {
  switch (b.type) {
    case ValueType::null:
      return "\"null\"";
    case ValueType::boolean:
      return !b.can_be_false ? "\"true\"" : !b.can_be_true ? "\"false\"" : R"("true" | "false")";
    case ValueType::number:
      return of_number(b.number);
    case ValueType::string:
      return of_string(b.string);
    case ValueType::array:
      return of_array(b.array);
    case ValueType::object:
      return of_object(b.object);
  }
  return "\"\"";
}

// Exponents are kept below what overflows a double.
std::string SchemaWriter::of_number(const NumberShape& n) {
  if (n.allowed) {
    std::vector<std::string> options;
    const bool may_be_float = n.kind == NumberShape::Kind::any;
    for (const Decimal& value : n.values())
      options.push_back(TextRules::literal(value.text()) +
                        (may_be_float && value.is_integer() ? " \".0\"?" : ""));
    return joined(options);
  }
  if (n.is_plain())
    return n.kind == NumberShape::Kind::integer
               ? R"("-"? ("0" | [1-9] [0-9]{0,17}))"
               : R"("-"? ("0" | [1-9] [0-9]{0,17}) ("." [0-9]{1,17})? ([eE] [-+]? ([0-9] | [1-9] [0-9] | [12] [0-9] [0-9]))?)";
  return rules_.of(n.texts(), Writing::plain, "");
}

std::string SchemaWriter::of_string(const StringShape& s) {
  if (s.allowed) {
    const Automaton texts = texts_of(s, expander_);
    std::vector<std::string> options;
    for (const std::string& text : *s.allowed)
      if (texts.accepts(text)) options.push_back(TextRules::literal(json_text(text)));
    return joined(options);
  }
  // Lengths beyond what states can count are counted by xgrammar, which knows one way to write a
  // character.
  const bool has_lengths_only =
      s.patterns.empty() && s.not_patterns.empty() && s.formats.empty() && s.excluded.empty();
  if (has_lengths_only && std::max(s.min_length, s.max_length) > kMaxCounted)
    return R"("\"" )" + repeated(R"([^"\\\x00-\x1f])", s.min_length, s.max_length, "maxLength") +
           R"( "\"")";
  return R"("\"" )" + rules_.of(texts_of(s, expander_), Writing::json, "\"");
}

std::string SchemaWriter::of_array(const ArrayShape& array) {
  ArrayShape a = array;
  for (size_t i = 0; i < a.prefix.size(); ++i)
    if (expander_.is_empty(a.prefix[i])) {
      a.prefix.resize(i);
      a.rest = impossible();
      break;
    }
  const auto count = static_cast<int64_t>(a.prefix.size());
  if (expander_.is_empty(a.rest)) a.max = a.max < 0 ? count : std::min(a.max, count);
  if (a.max >= 0 && a.min > a.max) return "";
  if (!a.unique_at.empty() && (a.max < 0 || a.max > 1)) return of_unique_array(a);
  if (a.contains.size() > 1)
    fail_grammar("",
                 "\"contains\" is enforced once for an array; this schema asks for it {} times",
                 a.contains.size());
  if (!a.contains.empty()) return of_counted_array(a, a.contains[0]);
  const auto item = [&](size_t i) { return rule_of(i < a.prefix.size() ? a.prefix[i] : a.rest); };
  const bool has_rest = a.max < 0 || a.max > count;
  // From the back: what may follow when i items are written, i > 0.
  const int64_t fixed = a.max < 0 ? count : std::min(a.max, count);
  const int64_t written = std::max<int64_t>(fixed, 1);
  std::string tail = has_rest && a.max != 1 ? repeated("(" + kComma + item(a.prefix.size()) + ")",
                                                       std::max<int64_t>(a.min - written, 0),
                                                       a.max < 0 ? -1 : a.max - written,
                                                       "minItems, maxItems") +
                                                  kEndArray
                                            : kEndArray;
  for (int64_t i = fixed - 1; i > 0; --i) {
    std::string next = kComma + item(static_cast<size_t>(i)) + " " + rules_.add("a", tail);
    tail = i >= a.min ? kEndArray + " | " + next : next;
  }
  std::vector<std::string> options;
  if (a.min <= 0) options.push_back("\"]\"");
  if (a.max != 0) options.push_back(item(0) + " " + rules_.add("a", tail));
  return kOpenArray + "(" + joined(options) + ")";
}

// One rule for (items written, of them counted), both up to where they matter.
std::string SchemaWriter::of_counted_array(const ArrayShape& a, const ContainsShape& contains) {
  const int64_t last = std::max({static_cast<int64_t>(a.prefix.size()), a.min, a.max, int64_t{1}});
  const int64_t most = contains.max < 0 ? contains.min : contains.max;
  if (contains.max >= 0 && contains.min > contains.max) return "";
  if ((last + 1) * (most + 1) > kMaxStates)
    fail_grammar("", "\"contains\" with bounds that need more than {} states", kMaxStates);
  // From the back; a state without a name cannot end.
  std::map<std::pair<int64_t, int64_t>, std::string> names;
  const auto with = [](Goal goal, const Goal& more) {
    goal.insert(more.begin(), more.end());
    return goal;
  };
  for (int64_t i = last; i >= 0; --i)
    for (int64_t c = most; c >= 0; --c) {
      const std::string name = rules_.reserve("c");
      std::vector<std::string> options, loops;
      if (i >= a.min && c >= contains.min) options.push_back(kEndArray);
      const Goal& item =
          static_cast<size_t>(i) < a.prefix.size() ? a.prefix[static_cast<size_t>(i)] : a.rest;
      const std::string comma = i == 0 ? kSpace : kComma;
      const auto go_on = [&](const Goal& goal, int64_t count) {
        const std::pair to = {std::min(i + 1, last), count};
        const bool is_loop = to == std::pair(i, c);
        if ((!is_loop && names[to].empty()) || expander_.is_empty(goal)) return;
        (is_loop ? loops : options)
            .push_back(comma + rule_of(goal) + " " + (is_loop ? name : names[to]));
      };
      if (a.max < 0 || i < a.max) {
        if (c < most)
          go_on(with(item, contains.wanted), c + 1);
        else if (contains.max < 0)
          go_on(item, c);
        if (c < most || contains.max >= 0) go_on(with(item, contains.unwanted), c);
      }
      if (options.empty()) continue;
      options.insert(options.end(), loops.begin(), loops.end());
      rules_.define(name, joined(options));
      names[{i, c}] = name;
    }
  return names[{0, 0}].empty() ? "" : "\"[\" " + names[{0, 0}];
}

// Of a few possible values, each at most once: a rule for each set of those that are used.
std::string SchemaWriter::of_unique_array(const ArrayShape& a) {
  const auto refuse = [&] {
    fail_grammar(a.unique_at,
                 "\"uniqueItems\" is enforced where items are an enum of at most {} values, or "
                 "maxItems is 1",
                 kMaxUnique);
  };
  if (!a.prefix.empty() || !a.contains.empty()) refuse();
  std::vector<std::string> values;
  for (const Branch& b : expander_.expand(a.rest)) {
    if (b.type == ValueType::null)
      values.push_back("null");
    else if (b.type == ValueType::boolean) {
      if (b.can_be_true) values.push_back("true");
      if (b.can_be_false) values.push_back("false");
    } else if (b.type == ValueType::number && b.number.allowed) {
      for (const Decimal& value : b.number.values()) values.push_back(value.text());
    } else if (b.type == ValueType::string && b.string.allowed) {
      const Automaton texts = texts_of(b.string, expander_);
      for (const std::string& text : *b.string.allowed)
        if (texts.accepts(text)) values.push_back(json_text(text));
    } else {
      refuse();
    }
  }
  if (values.size() > kMaxUnique) refuse();
  std::vector<std::string> names(size_t{1} << values.size());
  for (size_t used = names.size(); used-- > 0;) {
    const auto count = static_cast<int64_t>(std::popcount(used));
    std::vector<std::string> options;
    if (count >= a.min) options.push_back(kEndArray);
    for (size_t i = 0; i < values.size() && (a.max < 0 || count < a.max); ++i) {
      if ((used >> i & 1) != 0 || names[used | size_t{1} << i].empty()) continue;
      options.push_back((used == 0 ? kSpace : kComma) + TextRules::literal(values[i]) + " " +
                        names[used | size_t{1} << i]);
    }
    if (!options.empty()) names[used] = rules_.add("u", joined(options));
  }
  return names[0].empty() ? "" : "\"[\" " + names[0];
}

std::string schema_grammar(std::string_view schema) {
  const SchemaDocument document(schema);
  SchemaExpander expander(document);
  return SchemaWriter(expander).write(expander.root());
}

}  // namespace quern
