// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer/json_fields.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace quern {

const Json* find_field(const Json& object, std::string_view key) {
  if (!object.is_object())
    fail(ErrorCode::data_loss, "expected an object with '{}', got {}", key, object.type_name());
  const auto field = object.find(key);
  return field == object.end() || field->is_null() ? nullptr : &*field;
}

bool bool_field(const Json& object, std::string_view key, bool fallback) {
  const Json* field = find_field(object, key);
  if (!field) return fallback;
  if (!field->is_boolean())
    fail(ErrorCode::data_loss, "'{}': expected true or false, got {}", key, field->type_name());
  return field->get<bool>();
}

std::string string_field(const Json& object, std::string_view key, std::string_view fallback) {
  const Json* field = find_field(object, key);
  if (!field) return std::string(fallback);
  if (!field->is_string())
    fail(ErrorCode::data_loss, "'{}': expected a string, got {}", key, field->type_name());
  return field->get<std::string>();
}

const Json& array_field(const Json& object, std::string_view key) {
  const Json* field = find_field(object, key);
  if (!field || !field->is_array()) fail(ErrorCode::data_loss, "'{}': expected an array", key);
  return *field;
}

int32_t id_value(const Json& json, int32_t max, std::string_view what) {
  const int64_t value =
      json.is_number_integer() && !(json.is_number_unsigned() && json.get<uint64_t>() > INT64_MAX)
          ? json.get<int64_t>()
          : -1;
  if (value < 0 || value > max)
    fail(ErrorCode::data_loss, "{}: expected an id in 0..{}", what, max);
  return static_cast<int32_t>(value);
}

}  // namespace quern
