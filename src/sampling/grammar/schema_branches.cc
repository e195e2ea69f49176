// SPDX-License-Identifier: Apache-2.0
#include "sampling/grammar/schema_branches.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "sampling/grammar/grammar_error.h"

namespace quern {
namespace {

constexpr size_t kMaxBranches = 512;

void check_count(const Branches& branches, const std::string& pointer) {
  if (branches.size() > kMaxBranches)
    fail_grammar(pointer, "its alternatives combine in more than {} ways", kMaxBranches);
}

int64_t smaller_limit(int64_t a, int64_t b) {
  return a < 0 ? b : b < 0 ? a : std::min(a, b);
}

bool is_plainly_empty(const Branch& b) {
  const auto crossed = [](int64_t min, int64_t max) { return max >= 0 && min > max; };
  switch (b.type) {
    case ValueType::null:
      return false;
    case ValueType::boolean:
      return !b.can_be_true && !b.can_be_false;
    case ValueType::number:
      return (b.number.allowed && b.number.allowed->empty()) ||
             (b.number.lower && b.number.upper && *b.number.lower > *b.number.upper);
    case ValueType::string:
      return (b.string.allowed && b.string.allowed->empty()) ||
             crossed(b.string.min_length, b.string.max_length) ||
             std::any_of(b.string.patterns.begin(), b.string.patterns.end(), [&](const auto& p) {
               return b.string.not_patterns.contains(p);
             });
    case ValueType::array:
      return crossed(b.array.min, b.array.max);
    case ValueType::object:
      return crossed(b.object.min, b.object.max);
  }
  return false;
}

void merge_into(NumberShape& a, const NumberShape& b) {
  if (b.kind != NumberShape::Kind::any) {
    if (a.kind != NumberShape::Kind::any && a.kind != b.kind) a.allowed = std::set<Decimal>();
    a.kind = b.kind;
  }
  if (b.lower) a.raise_lower(*b.lower, b.is_lower_open);
  if (b.upper) a.reduce_upper(*b.upper, b.is_upper_open);
  a.multiples.insert(a.multiples.end(), b.multiples.begin(), b.multiples.end());
  a.not_multiples.insert(a.not_multiples.end(), b.not_multiples.begin(), b.not_multiples.end());
  a.excluded.insert(b.excluded.begin(), b.excluded.end());
  if (b.allowed) a.allow_only(*b.allowed);
}

void merge_into(StringShape& a, const StringShape& b) {
  a.min_length = std::max(a.min_length, b.min_length);
  a.max_length = smaller_limit(a.max_length, b.max_length);
  a.patterns.insert(b.patterns.begin(), b.patterns.end());
  a.not_patterns.insert(b.not_patterns.begin(), b.not_patterns.end());
  a.formats.insert(b.formats.begin(), b.formats.end());
  a.excluded.insert(b.excluded.begin(), b.excluded.end());
  if (b.allowed) allow_only(a, *b.allowed);
}

void merge_into(ArrayShape& a, const ArrayShape& b) {
  add_items(a, b.prefix, b.rest);
  a.min = std::max(a.min, b.min);
  a.max = smaller_limit(a.max, b.max);
  a.contains.insert(a.contains.end(), b.contains.begin(), b.contains.end());
  if (a.unique_at.empty()) a.unique_at = b.unique_at;
  a.evaluated = std::max(a.evaluated, b.evaluated);
  a.is_all_evaluated |= b.is_all_evaluated;
}

void merge_into(ObjectShape& a, const ObjectShape& b) {
  a.layers.insert(a.layers.end(), b.layers.begin(), b.layers.end());
  for (const std::string& key : b.required) require(a, key);
  a.names.insert(a.names.end(), b.names.begin(), b.names.end());
  if (b.min > a.min) {
    a.min = b.min;
    a.min_at = b.min_at;
  }
  a.max = smaller_limit(a.max, b.max);
}

}  // namespace

void append(Branches& out, Branches more, const std::string& pointer) {
  for (Branch& b : more) out.push_back(std::move(b));
  remove_duplicates(out);
  check_count(out, pointer);
}

void remove_duplicates(Branches& branches) {
  Branches out;
  for (Branch& b : branches)
    if (std::find(out.begin(), out.end(), b) == out.end()) out.push_back(std::move(b));
  branches = std::move(out);
}

void prune(Branches& branches, const std::string& pointer) {
  std::erase_if(branches, is_plainly_empty);
  check_count(branches, pointer);
}

Branches merged(const Branches& first, const Branches& second, const std::string& pointer) {
  Branches out;
  for (const Branch& a : first)
    for (const Branch& b : second) {
      if (a.type != b.type) continue;
      Branch both = a;
      both.can_be_true &= b.can_be_true;
      both.can_be_false &= b.can_be_false;
      merge_into(both.number, b.number);
      merge_into(both.string, b.string);
      merge_into(both.array, b.array);
      merge_into(both.object, b.object);
      out.push_back(std::move(both));
    }
  prune(out, pointer);
  return out;
}

void forget_evaluated(Branches& branches) {
  for (Branch& b : branches) {
    b.array.evaluated = 0;
    b.array.is_all_evaluated = false;
    for (PropertyLayer& layer : b.object.layers) layer.annotates = false;
  }
}

void require(ObjectShape& object, const std::string& key) {
  if (std::find(object.required.begin(), object.required.end(), key) == object.required.end())
    object.required.push_back(key);
}

const Goal& impossible() {
  static const Json no = false;
  static const Goal goal = {Demand{&no, "", "", false, false}};
  return goal;
}

void forbid(ObjectShape& object, const std::string& key) {
  PropertyLayer layer;
  layer.named.emplace_back(key, impossible());
  layer.annotates = false;
  object.layers.push_back(std::move(layer));
}

void add_items(ArrayShape& array, const std::vector<Goal>& prefix, const Goal& rest) {
  while (array.prefix.size() < prefix.size()) array.prefix.push_back(array.rest);
  for (size_t i = 0; i < array.prefix.size(); ++i) {
    const Goal& more = i < prefix.size() ? prefix[i] : rest;
    array.prefix[i].insert(more.begin(), more.end());
  }
  array.rest.insert(rest.begin(), rest.end());
}

void allow_only(StringShape& shape, const std::set<std::string>& texts) {
  if (!shape.allowed) {
    shape.allowed = texts;
    return;
  }
  std::erase_if(*shape.allowed, [&](const std::string& s) { return !texts.contains(s); });
}

const Json& list_of(const SchemaPlace& at, const std::string& key) {
  const Json& value = at.schema->at(key);
  if (!value.is_array() || value.empty())
    fail_grammar(at.pointer + "/" + key, "expected an array that is not empty");
  return value;
}

const Json& object_of(const SchemaPlace& at, const std::string& key) {
  const Json& value = at.schema->at(key);
  if (!value.is_object()) fail_grammar(at.pointer + "/" + key, "expected an object");
  return value;
}

int64_t count_of(const SchemaPlace& at, const std::string& key) {
  const Json& value = at.schema->at(key);
  const double number = value.is_number() ? value.get<double>() : -1;
  if (number < 0 || number != std::floor(number))
    fail_grammar(at.pointer + "/" + key, "expected a number of things, 0 or more");
  return static_cast<int64_t>(std::min(number, 1e15));
}

std::vector<std::string> names_of(const Json& value, const std::string& pointer) {
  if (!value.is_array()) fail_grammar(pointer, "expected an array of strings");
  std::vector<std::string> out;
  for (const Json& name : value) {
    if (!name.is_string()) fail_grammar(pointer, "expected an array of strings");
    out.push_back(name.get<std::string>());
  }
  return out;
}

}  // namespace quern
