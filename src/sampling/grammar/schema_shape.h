// SPDX-License-Identifier: Apache-2.0
// What a JSON schema comes down to: a Goal is what one value must satisfy, a Branch one way to
// satisfy it. A goal is the union of its branches.
#pragma once

#include <compare>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/json.h"
#include "sampling/grammar/decimal.h"

namespace quern {

// A schema that holds or does not hold, or a value to be equal to or to differ from.
struct Demand {
  const Json* json = nullptr;
  std::string pointer, base;  // of a schema: SchemaPlace
  bool is_literal = false, is_negated = false;

  auto operator<=>(const Demand& other) const {
    return std::tuple(json, is_literal, is_negated) <=>
           std::tuple(other.json, other.is_literal, other.is_negated);
  }
  bool operator==(const Demand& other) const { return (*this <=> other) == 0; }
};

// All of them at once; none: anything.
using Goal = std::set<Demand>;

struct StringShape {
  int64_t min_length = 0, max_length = -1;                // code points; -1: no limit
  std::set<std::string> patterns, not_patterns, formats;  // sources, searched for; names
  std::set<std::string> excluded;
  std::optional<std::set<std::string>> allowed;

  bool operator==(const StringShape&) const = default;
};

struct ContainsShape {
  Goal wanted, unwanted;  // of an item that counts, and of one that does not
  int64_t min = 1, max = -1;

  bool operator==(const ContainsShape&) const = default;
};

struct ArrayShape {
  std::vector<Goal> prefix;
  Goal rest;
  int64_t min = 0, max = -1;
  std::vector<ContainsShape> contains;
  std::string unique_at;  // where uniqueItems stands; empty: not asked for
  size_t evaluated = 0;   // leading items that unevaluatedItems does not look at
  bool is_all_evaluated = false;

  bool operator==(const ArrayShape&) const = default;
};

// What one schema says of properties: for each key the goals of its name and of all patterns that
// it matches; `others` where there are none.
struct PropertyLayer {
  std::vector<std::pair<std::string, Goal>> named;
  std::vector<std::pair<std::string, Goal>> patterns;
  Goal others;
  bool has_others = false;  // every key counts as evaluated
  bool annotates = true;    // named and matched keys count as evaluated
  bool is_list = false;     // a schema's own "properties", whose order answers keep

  bool operator==(const PropertyLayer&) const = default;
};

struct ObjectShape {
  std::vector<PropertyLayer> layers;
  std::vector<std::string> required;  // in order, each once
  std::vector<Goal> names;            // of every key, as a string
  int64_t min = 0, max = -1;
  std::string min_at;  // where minProperties stands

  bool operator==(const ObjectShape&) const = default;
};

enum class ValueType { null, boolean, number, string, array, object };

struct Branch {
  ValueType type = ValueType::null;
  bool can_be_true = true, can_be_false = true;
  NumberShape number;
  StringShape string;
  ArrayShape array;
  ObjectShape object;

  bool operator==(const Branch&) const = default;
};

using Branches = std::vector<Branch>;

// One branch for each type, which allow anything.
Branches any_value();

}  // namespace quern
