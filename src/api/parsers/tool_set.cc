// SPDX-License-Identifier: Apache-2.0
#include "api/parsers/tool_set.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "api/parsers/answer_writer.h"
#include "api/parsers/json_text.h"
#include "api/parsers/python_literal.h"

namespace quern {
namespace {

constexpr int kMaxSchemaDepth = 16;  // of references and alternatives

const Json* member(const Json& object, std::string_view name) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(name);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

std::string_view type_name(const Json& value) {
  if (value.is_string()) return "string";
  if (value.is_boolean()) return "boolean";
  if (value.is_number_integer()) return "integer";
  if (value.is_number()) return "number";
  if (value.is_array()) return "array";
  return value.is_object() ? "object" : "null";
}

// Gathers the types that a schema names; `root` is what its references start from.
class Types {
 public:
  explicit Types(const Json& root) : root_(root) {}

  void add(const Json& schema, int depth = 0) {
    if (!schema.is_object() || depth > kMaxSchemaDepth) return;
    if (const Json* type = member(schema, "type")) {
      for (const Json& one : type->is_array() ? *type : Json::array({*type}))
        if (one.is_string()) add_name(one.get<std::string>());
      return;
    }
    if (const Json* reference = member(schema, "$ref")) add_reference(*reference, depth);
    for (const char* key : {"anyOf", "oneOf", "allOf"})
      if (const Json* list = member(schema, key); list && list->is_array())
        for (const Json& one : *list) add(one, depth + 1);
    if (const Json* list = member(schema, "enum"); list && list->is_array())
      for (const Json& one : *list) add_name(std::string(type_name(one)));
    if (const Json* value = member(schema, "const")) add_name(std::string(type_name(*value)));
    if (member(schema, "properties")) add_name("object");
    if (member(schema, "items")) add_name("array");
  }

  std::vector<std::string> names;

 private:
  void add_name(std::string name) {
    if (std::find(names.begin(), names.end(), name) == names.end())
      names.push_back(std::move(name));
  }

  void add_reference(const Json& reference, int depth) {
    if (!reference.is_string()) return;
    const std::string path = reference.get<std::string>();
    if (!path.starts_with("#/")) return;
    const Json* at = &root_;
    for (size_t begin = 2; at && begin <= path.size();) {
      const size_t end = std::min(path.find('/', begin), path.size());
      at = member(*at, std::string_view(path).substr(begin, end - begin));
      begin = end + 1;
    }
    if (at) add(*at, depth + 1);
  }

  const Json& root_;
};

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \n\t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \n\t\r") + 1 - begin);
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

std::string quoted(std::string_view text) {
  return '"' + json_escaped(text) + '"';
}

// JSON, or what Python would write in its place.
std::optional<std::string> literal_of(std::string_view text) {
  if (text.empty()) return std::nullopt;
  if (auto json = JsonText::whole(text)) return json;
  return python_literal_to_json(text);
}

std::optional<std::string> integer_of(std::string_view text) {
  auto json = JsonText::whole(text);
  if (!json || json->find_first_not_of("-0123456789.") != std::string::npos) return std::nullopt;
  const size_t point = std::min(json->find('.'), json->size());
  if (json->find_first_not_of('0', point + 1) < json->size()) return std::nullopt;
  return json->substr(0, point);
}

std::optional<std::string> as_type(std::string_view text, const std::string& type) {
  if (type == "string") return quoted(text);
  const std::string_view bare = trimmed(text);
  if (bare.empty()) return std::nullopt;
  const std::string small = lower(bare.substr(0, 8));
  if (type == "null")
    return small == "null" || small == "none" ? std::optional("null") : std::nullopt;
  if (type == "boolean")
    return small == "true" || small == "false" ? std::optional(small) : std::nullopt;
  if (type == "integer") return integer_of(bare);
  const auto literal = literal_of(bare);
  if (!literal) return std::nullopt;
  const char first = (*literal)[0];
  const bool fits = type == "object" ? first == '{'
                    : type == "array"
                        ? first == '['
                        : type == "number" && (first == '-' || (first >= '0' && first <= '9'));
  return fits ? literal : std::nullopt;
}

}  // namespace

ToolSet::ToolSet(std::shared_ptr<const Json> tools) : tools_(std::move(tools)) {
  if (!tools_ || !tools_->is_array()) return;
  for (const Json& tool : *tools_) {
    const Json* function = member(tool, "function");
    const Json* name = function ? member(*function, "name") : nullptr;
    if (name && name->is_string()) functions_.push_back(function);
  }
}

const Json* ToolSet::find(std::string_view name) const {
  for (const Json* function : functions_)
    if (function->find("name")->get_ref<const std::string&>() == name) return function;
  return nullptr;
}

const Json* ToolSet::parameters(std::string_view name) const {
  const Json* function = find(name);
  return function ? member(*function, "parameters") : nullptr;
}

const Json* ToolSet::property(std::string_view tool, std::string_view argument) const {
  const Json* schema = parameters(tool);
  const Json* properties = schema ? member(*schema, "properties") : nullptr;
  return properties ? member(*properties, argument) : nullptr;
}

bool ToolSet::has_argument(std::string_view tool, std::string_view argument) const {
  return property(tool, argument) != nullptr;
}

std::vector<std::string> ToolSet::types_of(std::string_view tool, std::string_view argument) const {
  const Json* schema = property(tool, argument);
  if (!schema) return {};
  Types types(*parameters(tool));
  types.add(*schema);
  return std::move(types.names);
}

std::string argument_as_json(std::string_view text, const std::vector<std::string>& types) {
  if (types.empty()) return literal_of(trimmed(text)).value_or(quoted(text));
  // "null" is null wherever that is allowed, whatever stands in front of it.
  if (std::find(types.begin(), types.end(), "null") != types.end())
    if (const auto json = as_type(text, "null")) return *json;
  for (const std::string& type : types)
    if (const auto json = as_type(text, type)) return *json;
  return as_type(text, "null").value_or(quoted(text));
}

bool is_always_text(const std::vector<std::string>& types) {
  return types.size() == 1 && types[0] == "string";
}

}  // namespace quern
