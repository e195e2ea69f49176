// SPDX-License-Identifier: Apache-2.0
#include "sampling/grammar/schema_expander.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "sampling/grammar/grammar_error.h"
#include "sampling/grammar/schema_branches.h"

namespace quern {
namespace {

constexpr size_t kMaxDepth = 48;
constexpr size_t kMaxGoals = 4000;

// Keywords that are read together with another one, or that say nothing about a value.
bool is_read_elsewhere(const std::string& key) {
  static const std::set<std::string> names = {"additionalProperties",
                                              "patternProperties",
                                              "additionalItems",
                                              "items",
                                              "minContains",
                                              "maxContains",
                                              "then",
                                              "else",
                                              "unevaluatedItems",
                                              "unevaluatedProperties"};
  return names.contains(key);
}

}  // namespace

Branches any_value() {
  Branches out(6);
  for (int i = 0; i < 6; ++i) out[static_cast<size_t>(i)].type = static_cast<ValueType>(i);
  return out;
}

Demand SchemaExpander::demand(const SchemaPlace& at, bool is_negated) const {
  return {at.schema, at.pointer, at.base, false, is_negated};
}

Goal SchemaExpander::root() const {
  return {demand(document_.root())};
}

const Automaton& SchemaExpander::pattern(const std::string& source) {
  const auto found = patterns_.find(source);
  if (found != patterns_.end()) return found->second;
  return patterns_.emplace(source, Automaton::of(search_match(parse_pattern(source))))
      .first->second;
}

const Branches& SchemaExpander::expand(const Goal& goal) {
  if (const auto found = expanded_.find(goal); found != expanded_.end()) {
    is_exact_ &= found->second.is_exact;
    return found->second.branches;
  }
  if (expanded_.size() >= kMaxGoals)
    fail_grammar("", "the schema combines its parts in more than {} ways", kMaxGoals);
  const auto outer = std::exchange(applying_, {});
  const bool was_exact = std::exchange(is_exact_, true);
  const int was_silent = std::exchange(silent_, 0);
  expanding_.insert(goal);
  Branches branches = any_value();
  at_pointer(goal.empty() ? "" : goal.begin()->pointer, [&] {
    for (const Demand& part : goal) apply(branches, part);
    remove_duplicates(branches);
    std::erase_if(branches, [&](const Branch& b) { return is_branch_empty(b); });
  });
  expanding_.erase(goal);
  applying_ = outer;
  silent_ = was_silent;
  const auto place = expanded_.emplace(goal, Expanded{std::move(branches), is_exact_}).first;
  is_exact_ &= was_exact;
  return place->second.branches;
}

bool SchemaExpander::is_empty(const Goal& goal) {
  if (goal.empty() || expanding_.contains(goal) || expanding_.size() > kMaxDepth) return false;
  return expand(goal).empty();
}

bool SchemaExpander::is_branch_empty(const Branch& b) {
  if (b.type == ValueType::number && !b.number.is_plain())
    return b.number.allowed ? b.number.values().empty() : b.number.texts().is_empty();
  if (b.type == ValueType::string) {
    const StringShape& s = b.string;
    if (s.allowed || s.patterns.size() + s.not_patterns.size() + s.formats.size() > 1 ||
        (s.patterns.size() + s.not_patterns.size() + s.formats.size() > 0 &&
         (s.min_length > 0 || s.max_length >= 0)))
      return texts_of(s, *this).is_empty();
  }
  if (b.type == ValueType::array)
    for (size_t i = 0; i < static_cast<size_t>(std::max<int64_t>(b.array.min, 0)); ++i) {
      if (i >= b.array.prefix.size()) return is_empty(b.array.rest);
      if (is_empty(b.array.prefix[i])) return true;
    }
  if (b.type == ValueType::object)
    return std::any_of(b.object.required.begin(), b.object.required.end(), [&](const auto& key) {
      return is_empty(goal_of(b.object, key));
    });
  return false;
}

Goal SchemaExpander::goal_of(const ObjectShape& object, const std::string& key) {
  Goal out;
  for (const PropertyLayer& layer : object.layers) {
    bool is_matched = false;
    const auto take = [&](const Goal& goal) {
      out.insert(goal.begin(), goal.end());
      is_matched = true;
    };
    for (const auto& [name, goal] : layer.named)
      if (name == key) take(goal);
    for (const auto& [source, goal] : layer.patterns)
      if (pattern(source).accepts(key)) take(goal);
    if (!is_matched) out.insert(layer.others.begin(), layer.others.end());
  }
  return out;
}

void SchemaExpander::apply(Branches& branches, const Demand& demand) {
  const SchemaPlace at{demand.json, demand.pointer, demand.base};
  if (demand.is_literal && demand.is_negated) {
    negate_literal(branches, *demand.json);
  } else if (demand.is_literal) {
    apply_literal(branches, *demand.json);
  } else if (demand.is_negated) {
    negate_schema(branches, at);
  } else {
    apply_schema(branches, at);
  }
  prune(branches, demand.pointer);
}

void SchemaExpander::apply_schema(Branches& branches, const SchemaPlace& at) {
  if (at.schema->is_boolean()) {
    if (!at.schema->get<bool>()) branches.clear();
    return;
  }
  if (branches.empty()) return;
  if (!applying_.emplace(at.schema, false).second || applying_.size() > 200)
    fail_grammar(at.pointer, "this schema refers to itself for the same value");
  if (document_.ref_stands_alone() && at.schema->contains("$ref")) {
    apply_combination(branches, at, "$ref");
  } else if (at.schema->contains("unevaluatedProperties") ||
             at.schema->contains("unevaluatedItems")) {
    apply_unevaluated(branches, at);
  } else {
    for (const auto& item : at.schema->items()) apply_keyword(branches, at, item.key());
  }
  applying_.erase({at.schema, false});
  prune(branches, at.pointer);
}

void SchemaExpander::apply_keyword(Branches& branches,
                                   const SchemaPlace& at,
                                   const std::string& key) {
  const Json& s = *at.schema;
  if (key == "properties" ||
      ((key == "patternProperties" || key == "additionalProperties") && !s.contains("properties") &&
       (key == "patternProperties" || !s.contains("patternProperties"))))
    return apply_properties(branches, at);
  if (key == "prefixItems" || (key == "items" && !s.contains("prefixItems")))
    return apply_items(branches, at);
  if (is_read_elsewhere(key)) return;
  apply_scalar(branches, at, key) || apply_array(branches, at, key) ||
      apply_object(branches, at, key) || apply_combination(branches, at, key);
}

bool SchemaExpander::apply_combination(Branches& branches,
                                       const SchemaPlace& at,
                                       const std::string& key) {
  const Json& value = at.schema->at(key);
  if (key == "$ref") {
    if (!value.is_string()) fail_grammar(at.pointer + "/$ref", "expected a string");
    apply_schema(branches, document_.resolve(value.get<std::string>(), at));
  } else if (key == "$dynamicRef" || key == "$recursiveRef") {
    fail_grammar(at.pointer + "/" + key, "\"{}\" is not enforced; use $ref", key);
  } else if (key == "allOf") {
    for (size_t i = 0; i < list_of(at, key).size(); ++i)
      apply_schema(branches, document_.child(at, key, std::to_string(i)));
  } else if (key == "anyOf") {
    Branches out;
    for (size_t i = 0; i < list_of(at, key).size(); ++i) {
      Branches option = branches;
      apply_schema(option, document_.child(at, key, std::to_string(i)));
      append(out, std::move(option), at.pointer + "/anyOf");
    }
    branches = std::move(out);
  } else if (key == "oneOf") {
    apply_one_of(branches, at);
  } else if (key == "not") {
    negate_schema(branches, document_.child(at, key));
  } else if (key == "if") {
    apply_condition(branches, at);
  } else {
    return false;
  }
  return true;
}

// Proved only where the expansion is exact: what is left out of a branch could be in both.
bool SchemaExpander::are_disjoint(const SchemaPlace& a, const SchemaPlace& b) {
  const bool was_exact = std::exchange(is_exact_, true);
  const bool is_disjoint = expand({demand(a), demand(b)}).empty() && is_exact_;
  is_exact_ = was_exact;
  return is_disjoint;
}

void SchemaExpander::apply_one_of(Branches& branches, const SchemaPlace& at) {
  const size_t count = list_of(at, "oneOf").size();
  const auto option = [&](size_t i) { return document_.child(at, "oneOf", std::to_string(i)); };
  Branches out;
  for (size_t i = 0; i < count; ++i) {
    Branches chosen = branches;
    apply_schema(chosen, option(i));
    for (size_t j = 0; j < count && !chosen.empty(); ++j)
      if (j != i && !are_disjoint(option(i), option(j))) negate_schema(chosen, option(j));
    append(out, std::move(chosen), at.pointer + "/oneOf");
  }
  branches = std::move(out);
}

void SchemaExpander::apply_condition(Branches& branches, const SchemaPlace& at) {
  const bool has_then = at.schema->contains("then"), has_else = at.schema->contains("else");
  if (!has_then && !has_else && !is_evaluating_) return;
  Branches yes = branches, no = branches;
  apply_schema(yes, document_.child(at, "if"));
  if (has_then) apply_schema(yes, document_.child(at, "then"));
  negate_schema(no, document_.child(at, "if"));
  if (has_else) apply_schema(no, document_.child(at, "else"));
  append(yes, std::move(no), at.pointer + "/if");
  branches = std::move(yes);
}

void SchemaExpander::apply_unevaluated(Branches& branches, const SchemaPlace& at) {
  Branches own = any_value();
  const bool was = std::exchange(is_evaluating_, true);
  const int was_silent = std::exchange(silent_, 0);
  for (const auto& item : at.schema->items()) apply_keyword(own, at, item.key());
  is_evaluating_ = was;
  silent_ = was_silent;
  for (Branch& b : own) {
    if (b.type == ValueType::array && at.schema->contains("unevaluatedItems")) {
      if (b.array.is_all_evaluated) continue;
      if (!b.array.contains.empty())
        fail_grammar(at.pointer + "/unevaluatedItems", "not enforced together with \"contains\"");
      const size_t first = b.array.evaluated;
      const Demand rest = demand(document_.child(at, "unevaluatedItems"));
      while (b.array.prefix.size() < first) b.array.prefix.push_back(b.array.rest);
      for (size_t i = first; i < b.array.prefix.size(); ++i) b.array.prefix[i].insert(rest);
      b.array.rest.insert(rest);
      b.array.is_all_evaluated = true;
    }
    if (b.type == ValueType::object && at.schema->contains("unevaluatedProperties")) {
      PropertyLayer layer;
      layer.others = {demand(document_.child(at, "unevaluatedProperties"))};
      for (const PropertyLayer& known : b.object.layers) {
        if (!known.annotates) continue;
        layer.has_others |= known.has_others;
        for (const auto& [name, goal] : known.named) layer.named.emplace_back(name, Goal{});
        for (const auto& [source, goal] : known.patterns)
          layer.patterns.emplace_back(source, Goal{});
      }
      if (layer.has_others) continue;
      layer.has_others = true;
      b.object.layers.push_back(std::move(layer));
    }
  }
  if (silent_ > 0) forget_evaluated(own);
  branches = merged(branches, own, at.pointer);
}

}  // namespace quern
