// SPDX-License-Identifier: Apache-2.0
#include "api/field_reader.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "api/api_error.h"
#include "api/field_notes.h"

namespace quern {
namespace {

thread_local FieldNotes* field_notes = nullptr;

}  // namespace

FieldNotes::FieldNotes() {
  field_notes = this;
}
FieldNotes::~FieldNotes() {
  field_notes = nullptr;
}

std::string_view json_type_name(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::boolean:
      return "a boolean";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::array:
      return "an array";
    case Json::value_t::object:
      return "an object";
    default:
      return "a number";
  }
}

FieldReader::FieldReader(const Json& value, std::string where) : where_(std::move(where)) {
  if (!value.is_object()) {
    const std::string name = where_.empty() ? "request body" : where_.substr(0, where_.size() - 1);
    fail_field(
        where_.empty() ? "" : name, "{}: expected an object, got {}", name, json_type_name(value));
  }
  if (value.size() > kMaxFields)
    fail_field("", "{} fields in one object, the limit is {}", value.size(), kMaxFields);
  for (const auto& [name, field] : value.items())
    if (!field.is_null()) fields_.emplace(name, &field);
}

const Json* FieldReader::find(std::string_view name) {
  if (field_notes) field_notes->add(path(name));
  known_.emplace(name);
  const auto it = fields_.find(name);
  return it == fields_.end() ? nullptr : it->second;
}

std::optional<double> FieldReader::number(std::string_view name, double min, double max) {
  const Json* field = find(name);
  if (!field) return std::nullopt;
  if (!field->is_number())
    fail_field(path(name), "{}: expected a number, got {}", path(name), json_type_name(*field));
  const double value = field->get<double>();
  if (!(value >= min && value <= max))
    fail_field(
        path(name), "{}: expected a number from {} to {}, got {}", path(name), min, max, value);
  return value;
}

std::optional<int64_t> FieldReader::integer(std::string_view name, int64_t min, int64_t max) {
  const Json* field = find(name);
  if (!field) return std::nullopt;
  const bool is_whole_double = field->is_number_float() &&
                               std::trunc(field->get<double>()) == field->get<double>() &&
                               std::abs(field->get<double>()) < 0x1p53;
  if (!field->is_number_integer() && !is_whole_double)
    fail_field(path(name),
               "{}: expected an integer, got {}",
               path(name),
               field->is_number() ? "a fraction" : json_type_name(*field));
  const bool is_huge =
      field->is_number_unsigned() && field->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
  const int64_t value = is_huge ? INT64_MAX : field->get<int64_t>();
  if (is_huge || value < min || value > max)
    fail_field(path(name),
               "{}: expected an integer from {} to {}, got {}",
               path(name),
               min,
               max,
               field->dump());
  return value;
}

std::optional<bool> FieldReader::boolean(std::string_view name) {
  const Json* field = find(name);
  if (!field) return std::nullopt;
  if (!field->is_boolean())
    fail_field(
        path(name), "{}: expected true or false, got {}", path(name), json_type_name(*field));
  return field->get<bool>();
}

std::optional<std::string> FieldReader::string(std::string_view name) {
  const Json* field = find(name);
  if (!field) return std::nullopt;
  if (!field->is_string())
    fail_field(path(name), "{}: expected a string, got {}", path(name), json_type_name(*field));
  return field->get<std::string>();
}

int32_t token_id_of(const Json& value, std::string_view name) {
  if (!value.is_number_integer())
    fail_field(name, "{}: expected token ids, got {}", name, json_type_name(value));
  // An unsigned value beyond int64 reads as a negative one.
  const bool fits = value.get<int64_t>() >= 0 && value.get<int64_t>() <= INT32_MAX;
  if (!fits) fail_field(name, "{}: {} is not a token id", name, value.dump());
  return static_cast<int32_t>(value.get<int64_t>());
}

std::vector<int32_t> FieldReader::token_ids(std::string_view name, size_t max_count) {
  const Json* field = find(name);
  if (!field) return {};
  if (!field->is_array())
    fail_field(path(name),
               "{}: expected an array of token ids, got {}",
               path(name),
               json_type_name(*field));
  if (field->size() > max_count)
    fail_field(
        path(name), "{}: {} token ids, the limit is {}", path(name), field->size(), max_count);
  std::vector<int32_t> ids;
  ids.reserve(field->size());
  for (const Json& id : *field) ids.push_back(token_id_of(id, path(name)));
  return ids;
}

void FieldReader::refuse(std::string_view name, std::string_view why, double neutral) {
  known_.emplace(name);
  const auto it = fields_.find(name);
  if (it == fields_.end()) return;
  const Json* field = it->second;
  const bool is_neutral = field->is_number() && field->get<double>() == neutral;
  const bool is_false = field->is_boolean() && !field->get<bool>();
  const bool is_empty = (field->is_structured() && field->empty()) ||
                        (field->is_string() && field->get_ref<const std::string&>().empty());
  if (is_neutral || is_false || is_empty) return;
  throw RequestError(ErrorCode::unsupported,
                     path(name),
                     format("{}: not supported: {}", path(name), why),
                     "unsupported");
}

void FieldReader::ignore(std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) known_.emplace(name);
}

std::vector<std::string> FieldReader::reject_misspelt() const {
  std::vector<std::string> unknown;
  for (const auto& [name, field] : fields_) {
    if (known_.contains(std::string(name))) continue;
    // Short words have too many neighbours, long ones are no field of ours.
    if (name.size() >= 4 && name.size() <= 40)
      for (const std::string& known : known_)
        if (edit_distance(name, known) <= (name.size() >= 8 ? 2 : 1))
          fail_field(path(name), "{}: no such field; did you mean {}?", path(name), path(known));
    if (unknown.size() < 16) unknown.emplace_back(name.substr(0, 64));
  }
  std::sort(unknown.begin(), unknown.end());
  return unknown;
}

}  // namespace quern
