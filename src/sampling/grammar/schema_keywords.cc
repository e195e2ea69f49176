// SPDX-License-Identifier: Apache-2.0
// Keywords that hold.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "sampling/grammar/grammar_error.h"
#include "sampling/grammar/schema_branches.h"
#include "sampling/grammar/schema_expander.h"

namespace quern {
namespace {

using Kind = NumberShape::Kind;

const std::set<std::string>& type_names() {
  static const std::set<std::string> names = {
      "null", "boolean", "number", "integer", "string", "array", "object"};
  return names;
}

const char* name_of_type(ValueType type) {
  constexpr const char* kNames[] = {"null", "boolean", "number", "string", "array", "object"};
  return kNames[static_cast<int>(type)];
}

void apply_bound(NumberShape& n, const SchemaPlace& at, const std::string& key) {
  const Json& value = at.schema->at(key);
  if (value.is_boolean()) {  // draft 4: a flag of the other keyword
    const auto bound = at.schema->find(key == "exclusiveMinimum" ? "minimum" : "maximum");
    if (!value.get<bool>() || bound == at.schema->end()) return;
    const Decimal limit = Decimal::from(*bound, at.pointer);
    return key == "exclusiveMinimum" ? n.raise_lower(limit, true) : n.reduce_upper(limit, true);
  }
  if (!value.is_number()) fail_grammar(at.pointer + "/" + key, "expected a number");
  const Decimal limit = Decimal::from(value, at.pointer + "/" + key);
  const bool is_open = key.starts_with("exclusive");
  key == "minimum" || key == "exclusiveMinimum" ? n.raise_lower(limit, is_open)
                                                : n.reduce_upper(limit, is_open);
}

Decimal step_of(const SchemaPlace& at) {
  const Json& value = at.schema->at("multipleOf");
  if (!value.is_number() || value.get<double>() <= 0)
    fail_grammar(at.pointer + "/multipleOf", "expected a number above 0");
  return Decimal::from(value, at.pointer + "/multipleOf");
}

}  // namespace

std::set<std::string> types_of(const SchemaPlace& at) {
  const Json& value = at.schema->at("type");
  const auto list = value.is_string() ? std::vector<std::string>{value.get<std::string>()}
                                      : names_of(value, at.pointer + "/type");
  for (const std::string& name : list)
    if (!type_names().contains(name))
      fail_grammar(at.pointer + "/type", "\"{}\" is no JSON type", name.substr(0, 64));
  return {list.begin(), list.end()};
}

bool SchemaExpander::apply_scalar(Branches& branches,
                                  const SchemaPlace& at,
                                  const std::string& key) {
  const Json& value = at.schema->at(key);
  const std::string pointer = at.pointer + "/" + key;
  if (key == "type") {
    const auto types = types_of(at);
    std::erase_if(branches, [&](const Branch& b) {
      return !types.contains(name_of_type(b.type)) &&
             (b.type != ValueType::number || !types.contains("integer"));
    });
    if (types.contains("integer") && !types.contains("number")) {
      std::erase_if(branches, [](const Branch& b) {
        return b.type == ValueType::number && b.number.kind == Kind::fraction;
      });
      for_each_of(branches, ValueType::number, [](Branch& b) { b.number.kind = Kind::integer; });
    }
  } else if (key == "enum" || key == "const") {
    std::vector<const Json*> values;
    if (key == "const") {
      values.push_back(&value);
    } else {
      for (const Json& item : list_of(at, key)) values.push_back(&item);
    }
    apply_enum(branches, values);
  } else if (key == "minimum" || key == "maximum" || key == "exclusiveMinimum" ||
             key == "exclusiveMaximum") {
    for_each_of(branches, ValueType::number, [&](Branch& b) { apply_bound(b.number, at, key); });
  } else if (key == "multipleOf") {
    const Decimal step = step_of(at);
    NumberShape probe;
    probe.multiples.push_back(step);
    at_pointer(pointer, [&] { probe.texts(); });
    for_each_of(
        branches, ValueType::number, [&](Branch& b) { b.number.multiples.push_back(step); });
  } else if (key == "minLength" || key == "maxLength") {
    const int64_t count = count_of(at, key);
    for_each_of(branches, ValueType::string, [&](Branch& b) {
      StringShape& shape = b.string;
      if (key == "minLength") {
        shape.min_length = std::max(shape.min_length, count);
      } else {
        shape.max_length = shape.max_length < 0 ? count : std::min(shape.max_length, count);
      }
    });
  } else if (key == "pattern") {
    if (!value.is_string()) fail_grammar(pointer, "expected a string");
    const std::string source = value.get<std::string>();
    at_pointer(pointer, [&] { pattern(source); });
    for_each_of(branches, ValueType::string, [&](Branch& b) { b.string.patterns.insert(source); });
  } else if (key == "format") {
    if (!value.is_string()) fail_grammar(pointer, "expected a string");
    for_each_of(branches, ValueType::string, [&](Branch& b) {
      format_pattern(value.get<std::string>(), pointer);
      b.string.formats.insert(value.get<std::string>());
    });
  } else {
    return false;
  }
  return true;
}

void SchemaExpander::apply_enum(Branches& branches, const std::vector<const Json*>& values) {
  std::set<std::string> texts;
  std::set<Decimal> numbers;
  bool has_null = false, has_true = false, has_false = false;
  std::vector<const Json*> structured;
  for (const Json* value : values) {
    if (value->is_string()) texts.insert(value->get<std::string>());
    if (value->is_number()) numbers.insert(Decimal::from(*value, ""));
    has_null |= value->is_null();
    if (value->is_boolean()) (value->get<bool>() ? has_true : has_false) = true;
    if (value->is_structured()) structured.push_back(value);
  }
  Branches out;
  for (Branch& b : branches) {
    if (b.type == ValueType::array || b.type == ValueType::object) {
      for (const Json* value : structured) {
        Branches one = {b};
        apply_literal(one, *value);
        append(out, std::move(one), "");
      }
      continue;
    }
    if (b.type == ValueType::null && !has_null) continue;
    b.can_be_true &= has_true;
    b.can_be_false &= has_false;
    b.number.allow_only(numbers);
    allow_only(b.string, texts);
    out.push_back(std::move(b));
  }
  branches = std::move(out);
}

void SchemaExpander::apply_literal(Branches& branches, const Json& value) {
  if (!value.is_structured()) return apply_enum(branches, {&value});
  const auto type = value.is_array() ? ValueType::array : ValueType::object;
  std::erase_if(branches, [type](const Branch& b) { return b.type != type; });
  const auto size = static_cast<int64_t>(value.size());
  const auto equal_to = [](const Json& item) { return Goal{Demand{&item, "", "", true, false}}; };
  for (Branch& b : branches) {
    if (value.is_array()) {
      std::vector<Goal> prefix;
      for (const Json& item : value) prefix.push_back(equal_to(item));
      add_items(b.array, prefix, impossible());
      b.array.min = std::max(b.array.min, size);
      b.array.max = b.array.max < 0 ? size : std::min(b.array.max, size);
      continue;
    }
    PropertyLayer layer;
    layer.annotates = false;
    layer.others = impossible();
    for (const auto& [key, item] : value.items()) {
      layer.named.emplace_back(key, equal_to(item));
      require(b.object, key);
    }
    b.object.layers.push_back(std::move(layer));
  }
}

bool SchemaExpander::apply_array(Branches& branches,
                                 const SchemaPlace& at,
                                 const std::string& key) {
  if (key == "minItems" || key == "maxItems") {
    const int64_t count = count_of(at, key);
    for_each_of(branches, ValueType::array, [&](Branch& b) {
      if (key == "minItems")
        b.array.min = std::max(b.array.min, count);
      else
        b.array.max = b.array.max < 0 ? count : std::min(b.array.max, count);
    });
  } else if (key == "contains") {
    apply_contains(branches, at);
  } else if (key == "uniqueItems") {
    if (at.schema->at(key) == true)
      for_each_of(branches, ValueType::array, [&](Branch& b) {
        b.array.unique_at = at.pointer + "/" + key;
      });
  } else {
    return false;
  }
  return true;
}

// prefixItems and items; an array of items and additionalItems before draft 2020-12.
void SchemaExpander::apply_items(Branches& branches, const SchemaPlace& at) {
  const Json& s = *at.schema;
  const bool is_new = s.contains("prefixItems");
  const bool is_old_tuple = !is_new && s.at("items").is_array();
  const char* tuple = is_new ? "prefixItems" : "items";
  std::vector<Goal> prefix;
  if (is_new || is_old_tuple)
    for (size_t i = 0; i < s.at(tuple).size(); ++i)
      prefix.push_back({demand(document_.child(at, tuple, std::to_string(i)))});
  const char* rest_key = is_old_tuple ? "additionalItems" : "items";
  Goal rest;
  const bool has_rest = s.contains(rest_key);
  if (has_rest) rest = {demand(document_.child(at, rest_key))};
  for_each_of(branches, ValueType::array, [&](Branch& b) {
    add_items(b.array, prefix, rest);
    if (silent_ > 0) return;
    b.array.evaluated = std::max(b.array.evaluated, prefix.size());
    b.array.is_all_evaluated |= has_rest;
  });
}

void SchemaExpander::apply_contains(Branches& branches, const SchemaPlace& at) {
  const SchemaPlace item = document_.child(at, "contains");
  ContainsShape shape;
  shape.wanted = {demand(item)};
  shape.unwanted = {demand(item, true)};
  if (at.schema->contains("minContains")) shape.min = count_of(at, "minContains");
  if (at.schema->contains("maxContains")) shape.max = count_of(at, "maxContains");
  for_each_of(branches, ValueType::array, [&](Branch& b) { b.array.contains.push_back(shape); });
}

bool SchemaExpander::apply_object(Branches& branches,
                                  const SchemaPlace& at,
                                  const std::string& key) {
  const Json& value = at.schema->at(key);
  const std::string pointer = at.pointer + "/" + key;
  if (key == "required") {
    if (value.is_boolean()) return true;  // draft 3
    for (const std::string& name : names_of(value, pointer))
      for_each_of(branches, ValueType::object, [&](Branch& b) { require(b.object, name); });
  } else if (key == "minProperties" || key == "maxProperties") {
    const int64_t count = count_of(at, key);
    for_each_of(branches, ValueType::object, [&](Branch& b) {
      if (key == "maxProperties") {
        b.object.max = b.object.max < 0 ? count : std::min(b.object.max, count);
      } else if (count > b.object.min) {
        b.object.min = count;
        b.object.min_at = pointer;
      }
    });
  } else if (key == "propertyNames") {
    const Goal names = {demand(document_.child(at, key))};
    for_each_of(branches, ValueType::object, [&](Branch& b) { b.object.names.push_back(names); });
  } else if (key == "dependentRequired" || key == "dependentSchemas" || key == "dependencies") {
    apply_dependencies(branches, at, key);
  } else {
    return false;
  }
  return true;
}

void SchemaExpander::apply_dependencies(Branches& branches,
                                        const SchemaPlace& at,
                                        const std::string& key) {
  for (const auto& [name, value] : object_of(at, key).items()) {
    Branches out;
    for (const Branch& b : branches)
      if (b.type != ValueType::object) out.push_back(b);
    Branches without =
        only(branches, ValueType::object, [&](Branch& b) { forbid(b.object, name); });
    Branches with = only(branches, ValueType::object, [&](Branch& b) { require(b.object, name); });
    if (value.is_array()) {
      for (const std::string& other :
           names_of(value, at.pointer + "/" + key + "/" + escaped_pointer(name)))
        for_each_of(with, ValueType::object, [&](Branch& b) { require(b.object, other); });
    } else {
      apply_schema(with, document_.child(at, key, name));
    }
    append(out, std::move(without), at.pointer + "/" + key);
    append(out, std::move(with), at.pointer + "/" + key);
    branches = std::move(out);
  }
}

void SchemaExpander::apply_properties(Branches& branches, const SchemaPlace& at) {
  const Json& s = *at.schema;
  PropertyLayer layer;
  if (s.contains("properties"))
    for (const auto& item : object_of(at, "properties").items())
      layer.named.emplace_back(item.key(),
                               Goal{demand(document_.child(at, "properties", item.key()))});
  if (s.contains("patternProperties"))
    for (const auto& item : object_of(at, "patternProperties").items()) {
      at_pointer(at.pointer + "/patternProperties/" + escaped_pointer(item.key()),
                 [&] { pattern(item.key()); });
      layer.patterns.emplace_back(
          item.key(), Goal{demand(document_.child(at, "patternProperties", item.key()))});
    }
  layer.annotates = layer.is_list = silent_ == 0;
  layer.has_others = s.contains("additionalProperties");
  if (layer.has_others) layer.others = {demand(document_.child(at, "additionalProperties"))};
  for_each_of(branches, ValueType::object, [&](Branch& b) { b.object.layers.push_back(layer); });
}

}  // namespace quern
