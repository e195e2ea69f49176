// SPDX-License-Identifier: Apache-2.0
// Keywords that do not hold: one alternative for each keyword of the schema.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "sampling/grammar/grammar_error.h"
#include "sampling/grammar/schema_branches.h"
#include "sampling/grammar/schema_expander.h"

namespace quern {

std::set<std::string> types_of(const SchemaPlace& at);

namespace {

// There is no grammar for the opposite of a keyword.
class NotExpressible : public GrammarError {
 public:
  using GrammarError::GrammarError;
};

bool is_annotation(const std::string& key) {
  static const std::set<std::string> asserting = {"$ref",
                                                  "$dynamicRef",
                                                  "$recursiveRef",
                                                  "type",
                                                  "enum",
                                                  "const",
                                                  "multipleOf",
                                                  "minimum",
                                                  "maximum",
                                                  "exclusiveMinimum",
                                                  "exclusiveMaximum",
                                                  "minLength",
                                                  "maxLength",
                                                  "pattern",
                                                  "format",
                                                  "prefixItems",
                                                  "items",
                                                  "additionalItems",
                                                  "contains",
                                                  "uniqueItems",
                                                  "minItems",
                                                  "maxItems",
                                                  "properties",
                                                  "patternProperties",
                                                  "additionalProperties",
                                                  "propertyNames",
                                                  "required",
                                                  "dependentRequired",
                                                  "dependentSchemas",
                                                  "dependencies",
                                                  "minProperties",
                                                  "maxProperties",
                                                  "allOf",
                                                  "anyOf",
                                                  "oneOf",
                                                  "not",
                                                  "if",
                                                  "unevaluatedItems",
                                                  "unevaluatedProperties"};
  return !asserting.contains(key);
}

bool allows_all(const Json& schema) {
  return schema == true || (schema.is_object() && schema.empty());
}

}  // namespace

void SchemaExpander::negate_schema(Branches& branches, const SchemaPlace& at) {
  if (at.schema->is_boolean()) {
    if (at.schema->get<bool>()) branches.clear();
    return;
  }
  if (branches.empty()) return;
  const auto outer = applying_;
  if (!applying_.emplace(at.schema, true).second || applying_.size() > 200)
    fail_grammar(at.pointer, "this schema refers to itself for the same value");
  const bool is_ref_alone = document_.ref_stands_alone() && at.schema->contains("$ref");
  ++silent_;
  const int silent = silent_;
  Branches out;
  bool has_one = false;
  std::optional<NotExpressible> refusal;
  for (const auto& item : at.schema->items()) {
    if (is_annotation(item.key()) || (is_ref_alone && item.key() != "$ref")) continue;
    const auto here = applying_;
    try {
      append(out, negate_keyword(branches, at, item.key()), at.pointer);
      has_one = true;
    } catch (const NotExpressible& error) {
      applying_ = here;
      silent_ = silent;
      is_exact_ = false;
      refusal = error;
    }
  }
  --silent_;
  if (!has_one && refusal) throw *refusal;
  applying_ = outer;
  branches = std::move(out);
  prune(branches, at.pointer);
}

Branches SchemaExpander::negate_keyword(const Branches& in,
                                        const SchemaPlace& at,
                                        const std::string& key) {
  if (auto out = negate_scalar(in, at, key)) return std::move(*out);
  if (auto out = negate_array(in, at, key)) return std::move(*out);
  if (auto out = negate_object(in, at, key)) return std::move(*out);
  if (auto out = negate_combination(in, at, key)) return std::move(*out);
  throw NotExpressible(
      ErrorCode::invalid_argument,
      at.pointer + "/" + key,
      format("\"{}\" is not enforced where it must not hold (not, oneOf, if)", key));
}

std::optional<Branches> SchemaExpander::negate_scalar(const Branches& in,
                                                      const SchemaPlace& at,
                                                      const std::string& key) {
  const Json& value = at.schema->at(key);
  const auto numbers = [&](auto change) {
    return only(in, ValueType::number, [&](Branch& b) { change(b.number); });
  };
  if (key == "type") {
    const auto types = types_of(at);
    Branches out;
    constexpr const char* kNames[] = {"null", "boolean", "number", "string", "array", "object"};
    for (const Branch& b : in) {
      if (types.contains(kNames[static_cast<int>(b.type)])) continue;
      out.push_back(b);
      if (b.type != ValueType::number || !types.contains("integer")) continue;
      if (b.number.kind == NumberShape::Kind::integer)
        out.pop_back();
      else
        out.back().number.kind = NumberShape::Kind::fraction;
    }
    return out;
  }
  if (key == "const" || key == "enum") {
    Branches out = in;
    if (key == "const")
      negate_literal(out, value);
    else
      for (const Json& item : list_of(at, key)) negate_literal(out, item);
    return out;
  }
  if (key == "multipleOf") {
    const Decimal step = Decimal::from(value, at.pointer + "/" + key);
    return numbers([&](NumberShape& n) { n.not_multiples.push_back(step); });
  }
  const bool is_lower = key == "minimum" || key == "exclusiveMinimum";
  if (is_lower || key == "maximum" || key == "exclusiveMaximum") {
    if (!value.is_number()) return std::nullopt;
    const Decimal bound = Decimal::from(value, at.pointer + "/" + key);
    const bool is_open = !key.starts_with("exclusive");
    return numbers([&](NumberShape& n) {
      is_lower ? n.reduce_upper(bound, is_open) : n.raise_lower(bound, is_open);
    });
  }
  if (key == "minLength" || key == "maxLength") {
    const int64_t count = count_of(at, key);
    if (key == "minLength" && count == 0) return Branches{};
    return only(in, ValueType::string, [&](Branch& b) {
      StringShape& s = b.string;
      if (key == "maxLength")
        s.min_length = std::max(s.min_length, count + 1);
      else
        s.max_length = s.max_length < 0 ? count - 1 : std::min(s.max_length, count - 1);
    });
  }
  if (key == "pattern" && value.is_string()) {
    const std::string source = value.get<std::string>();
    at_pointer(at.pointer + "/pattern", [&] { pattern(source); });
    return only(in, ValueType::string, [&](Branch& b) { b.string.not_patterns.insert(source); });
  }
  return std::nullopt;
}

std::optional<Branches> SchemaExpander::negate_array(const Branches& in,
                                                     const SchemaPlace& at,
                                                     const std::string& key) {
  const Json& s = *at.schema;
  const auto arrays = [&](auto change) {
    return only(in, ValueType::array, [&](Branch& b) { change(b.array); });
  };
  const auto with_contains = [&](ContainsShape shape) {
    return arrays([&](ArrayShape& a) { a.contains.push_back(shape); });
  };
  if (key == "minItems" || key == "maxItems") {
    const int64_t count = count_of(at, key);
    if (key == "minItems" && count == 0) return Branches{};
    return arrays([&](ArrayShape& a) {
      if (key == "maxItems")
        a.min = std::max(a.min, count + 1);
      else
        a.max = a.max < 0 ? count - 1 : std::min(a.max, count - 1);
    });
  }
  if (key == "uniqueItems" && s.at(key) == false) return Branches{};
  if (key == "items" && allows_all(s.at(key))) return Branches{};
  if (key == "items" && !s.at(key).is_array() && !s.contains("prefixItems")) {
    const SchemaPlace item = document_.child(at, key);
    return with_contains({{demand(item, true)}, {demand(item)}, 1, -1});
  }
  if (key == "prefixItems") {
    Branches out;
    for (size_t i = 0; i < list_of(at, key).size(); ++i) {
      std::vector<Goal> prefix(i + 1);
      prefix[i] = {demand(document_.child(at, key, std::to_string(i)), true)};
      append(out,
             arrays([&](ArrayShape& a) {
               add_items(a, prefix, {});
               a.min = std::max(a.min, static_cast<int64_t>(i) + 1);
             }),
             at.pointer);
    }
    return out;
  }
  if (key == "contains") {
    const SchemaPlace item = document_.child(at, key);
    const int64_t min = s.contains("minContains") ? count_of(at, "minContains") : 1;
    const Goal yes = {demand(item)}, no = {demand(item, true)};
    Branches out;
    if (min == 1) append(out, arrays([&](ArrayShape& a) { add_items(a, {}, no); }), at.pointer);
    if (min > 1) append(out, with_contains({yes, no, 0, min - 1}), at.pointer);
    if (s.contains("maxContains"))
      append(out, with_contains({yes, no, count_of(at, "maxContains") + 1, -1}), at.pointer);
    return out;
  }
  return std::nullopt;
}

std::optional<Branches> SchemaExpander::negate_object(const Branches& in,
                                                      const SchemaPlace& at,
                                                      const std::string& key) {
  const Json& value = at.schema->at(key);
  const auto objects = [&](auto change) {
    return only(in, ValueType::object, [&](Branch& b) { change(b.object); });
  };
  Branches out;
  if (key == "required") {
    for (const std::string& name : names_of(value, at.pointer + "/required"))
      append(out, objects([&](ObjectShape& o) { forbid(o, name); }), at.pointer);
    return out;
  }
  if (key == "minProperties" || key == "maxProperties") {
    const int64_t count = count_of(at, key);
    if (key == "minProperties" && count == 0) return out;
    return objects([&](ObjectShape& o) {
      if (key == "minProperties") {
        o.max = o.max < 0 ? count - 1 : std::min(o.max, count - 1);
      } else if (count + 1 > o.min) {
        o.min = count + 1;
        o.min_at = at.pointer + "/" + key;
      }
    });
  }
  if (key == "properties") {
    for (const auto& item : object_of(at, key).items())
      append(out,
             objects([&](ObjectShape& o) {
               require(o, item.key());
               PropertyLayer layer;
               layer.annotates = false;
               layer.named.emplace_back(item.key(),
                                        Goal{demand(document_.child(at, key, item.key()), true)});
               o.layers.push_back(std::move(layer));
             }),
             at.pointer);
    return out;
  }
  if ((key == "additionalProperties" || key == "propertyNames") && allows_all(value)) return out;
  if (key == "dependentRequired") {
    for (const auto& [name, others] : object_of(at, key).items())
      for (const std::string& other : names_of(others, at.pointer + "/" + key))
        append(out,
               objects([&](ObjectShape& o) {
                 require(o, name);
                 forbid(o, other);
               }),
               at.pointer);
    return out;
  }
  if (key == "dependentSchemas") {
    for (const auto& item : object_of(at, key).items()) {
      Branches with = objects([&](ObjectShape& o) { require(o, item.key()); });
      negate_schema(with, document_.child(at, key, item.key()));
      append(out, std::move(with), at.pointer);
    }
    return out;
  }
  return std::nullopt;
}

std::optional<Branches> SchemaExpander::negate_combination(const Branches& in,
                                                           const SchemaPlace& at,
                                                           const std::string& key) {
  const Json& s = *at.schema;
  const auto part = [&](size_t i) { return document_.child(at, key, std::to_string(i)); };
  Branches out;
  if (key == "$ref" && s.at(key).is_string()) {
    out = in;
    negate_schema(out, document_.resolve(s.at(key).get<std::string>(), at));
    return out;
  }
  if (key == "allOf") {
    for (size_t i = 0; i < list_of(at, key).size(); ++i) {
      Branches one = in;
      negate_schema(one, part(i));
      append(out, std::move(one), at.pointer);
    }
    return out;
  }
  if (key == "anyOf" || key == "oneOf") {
    out = in;
    const size_t count = list_of(at, key).size();
    for (size_t i = 0; i < count; ++i) negate_schema(out, part(i));
    if (key == "anyOf") return out;
    for (size_t i = 0; i < count; ++i)
      for (size_t j = i + 1; j < count; ++j) {
        Branches both = in;
        apply_schema(both, part(i));
        apply_schema(both, part(j));
        append(out, std::move(both), at.pointer);
      }
    return out;
  }
  if (key == "not") {
    out = in;
    apply_schema(out, document_.child(at, key));
    return out;
  }
  if (key == "if") {
    for (const char* branch : {"then", "else"}) {
      if (!s.contains(branch)) continue;
      Branches one = in;
      if (std::string(branch) == "then")
        apply_schema(one, document_.child(at, key));
      else
        negate_schema(one, document_.child(at, key));
      negate_schema(one, document_.child(at, branch));
      append(out, std::move(one), at.pointer);
    }
    return out;
  }
  return std::nullopt;
}

void SchemaExpander::negate_literal(Branches& branches, const Json& value) {
  if (value.is_null())
    std::erase_if(branches, [](const Branch& b) { return b.type == ValueType::null; });
  if (value.is_boolean())
    for_each_of(branches, ValueType::boolean, [&](Branch& b) {
      (value.get<bool>() ? b.can_be_true : b.can_be_false) = false;
    });
  if (value.is_number())
    for_each_of(branches, ValueType::number, [&](Branch& b) {
      b.number.excluded.insert(Decimal::from(value, ""));
    });
  if (value.is_string())
    for_each_of(branches, ValueType::string, [&](Branch& b) {
      b.string.excluded.insert(value.get<std::string>());
    });
  if (!value.is_structured()) return prune(branches, "");
  const auto type = value.is_array() ? ValueType::array : ValueType::object;
  Branches out;
  for (const Branch& b : branches)
    if (b.type != type) out.push_back(b);
  const auto size = static_cast<int64_t>(value.size());
  const auto differs_from = [](const Json& item) {
    return Goal{Demand{&item, "", "", true, true}};
  };
  if (value.is_array()) {
    append(out,
           only(branches, type, [&](Branch& b) { b.array.min = std::max(b.array.min, size + 1); }),
           "");
    if (size > 0)
      append(out,
             only(branches,
                  type,
                  [&](Branch& b) {
                    b.array.max = b.array.max < 0 ? size - 1 : std::min(b.array.max, size - 1);
                  }),
             "");
    for (int64_t i = 0; i < size; ++i)
      append(out,
             only(branches,
                  type,
                  [&](Branch& b) {
                    std::vector<Goal> prefix(static_cast<size_t>(i) + 1);
                    prefix.back() = differs_from(value[static_cast<size_t>(i)]);
                    add_items(b.array, prefix, {});
                    b.array.min = std::max(b.array.min, i + 1);
                  }),
             "");
  } else {
    is_exact_ = false;  // objects with more keys are left out
    for (const auto& [key, item] : value.items()) {
      append(out, only(branches, type, [&](Branch& b) { forbid(b.object, key); }), "");
      append(out,
             only(branches,
                  type,
                  [&](Branch& b) {
                    require(b.object, key);
                    PropertyLayer layer;
                    layer.annotates = false;
                    layer.named.emplace_back(key, differs_from(item));
                    b.object.layers.push_back(std::move(layer));
                  }),
             "");
    }
    if (size == 0)
      append(out,
             only(branches,
                  type,
                  [&](Branch& b) { b.object.min = std::max<int64_t>(b.object.min, 1); }),
             "");
  }
  branches = std::move(out);
  prune(branches, "");
}

}  // namespace quern
