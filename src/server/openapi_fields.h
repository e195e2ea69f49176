// SPDX-License-Identifier: Apache-2.0
// The words that the schemas of /openapi.json are written in.
#pragma once

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace quern::openapi {

struct Field {
  const char* name;
  Json schema;
  const char* about = "";
  bool is_required = false;
};

inline Json typed(const char* type) {
  return {{"type", type}};
}
inline Json text() {
  return typed("string");
}
inline Json flag() {
  return typed("boolean");
}
inline Json number(double min, double max) {
  return {{"type", "number"}, {"minimum", min}, {"maximum", max}};
}
inline Json integer(int64_t min, int64_t max) {
  return {{"type", "integer"}, {"minimum", min}, {"maximum", max}};
}
inline Json count() {
  return {{"type", "integer"}, {"minimum", 0}};
}
inline Json list_of(Json items, int64_t min = 0, int64_t max = -1) {
  Json out = {{"type", "array"}, {"items", std::move(items)}};
  if (min > 0) out["minItems"] = min;
  if (max >= 0) out["maxItems"] = max;
  return out;
}
inline Json one_of(Json alternatives) {
  return {{"anyOf", std::move(alternatives)}};
}
inline Json reference(const char* name) {
  return {{"$ref", std::string("#/components/schemas/") + name}};
}
inline Json token_id() {
  return integer(0, INT32_MAX);
}
inline Json short_text() {
  return {{"type", "string"}, {"minLength", 1}, {"maxLength", 256}};
}

// Null counts as absent, in requests as in answers.
inline Json nullable(Json schema) {
  if (schema.contains("type") && schema["type"].is_string()) {
    schema["type"] = Json::array({schema["type"], "null"});
    return schema;
  }
  return one_of(Json::array({std::move(schema), typed("null")}));
}

inline Json object_of(const std::vector<Field>& fields) {
  Json out = typed("object");
  Json required = Json::array();
  Json& properties = out["properties"] = Json::object();
  for (const Field& field : fields) {
    Json schema = field.is_required ? field.schema : nullable(field.schema);
    if (*field.about) schema["description"] = field.about;
    properties[field.name] = std::move(schema);
    if (field.is_required) required.push_back(field.name);
  }
  if (!required.empty()) out["required"] = std::move(required);
  return out;
}

inline std::vector<Field> joined(std::vector<Field> a, const std::vector<Field>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

inline std::vector<Field> without(std::vector<Field> fields,
                                  const std::vector<std::string_view>& names) {
  std::erase_if(fields, [&](const Field& field) {
    return std::find(names.begin(), names.end(), field.name) != names.end();
  });
  return fields;
}

// Responses and messages: what they ask and answer, by name. `sampling`: the fields that every
// dialect takes.
void add_dialects(Json& schemas, const std::vector<Field>& sampling);
void add_speech(Json& schemas);

}  // namespace quern::openapi
