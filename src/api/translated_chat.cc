// SPDX-License-Identifier: Apache-2.0
#include "api/translated_chat.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace quern {

TranslatedChat::TranslatedChat() : body_(std::make_shared<Json>(Json::object())) {
  (*body_)["messages"] = Json::array();
}

void TranslatedChat::set(const std::string& name, Json value, std::string original) {
  (*body_)[name] = std::move(value);
  if (!original.empty()) origins_.add(name, std::move(original));
}

void TranslatedChat::pass_on(const Json& body, std::span<const std::string_view> own) {
  for (const auto& [name, value] : body.items())
    if (std::find(own.begin(), own.end(), name) == own.end()) (*body_)[name] = value;
}

void TranslatedChat::add_message(Json message,
                                 const std::string& original,
                                 std::vector<std::string> parts) {
  Json& messages = (*body_)["messages"];
  const std::string place = format("messages[{}]", messages.size());
  origins_.add(place, original);
  for (size_t i = 0; i < parts.size(); ++i)
    origins_.add(format("{}.content[{}]", place, i), std::move(parts[i]));
  messages.push_back(std::move(message));
}

void TranslatedChat::add_system(const std::string& text, const std::string& original) {
  Json& messages = (*body_)["messages"];
  if (messages.size() == 1 && messages[0]["role"] == "system")
    messages[0]["content"].get_ref<std::string&>() += "\n\n" + text;
  else
    add_message({{"role", "system"}, {"content", text}}, original);
}

std::string required_string(FieldReader& fields, std::string_view name) {
  auto value = fields.string(name);
  if (!value) fail_field(fields.path(name), "{}: missing; expected a string", fields.path(name));
  return *std::move(value);
}

void fail_type(const std::string& path, std::string_view type, std::string_view served) {
  throw RequestError(
      ErrorCode::unsupported,
      path,
      format("{}: \"{}\" is not supported; served: {}", path, type.substr(0, 64), served),
      "unsupported");
}

bool reads_as_object(const std::string& text, Json& value) {
  try {
    value = text.empty() ? Json::object() : parse_json(text, "arguments");
  } catch (const Error&) {
    return false;
  }
  return value.is_object();
}

void reject_misspelt(const Json& body,
                     std::span<const std::string_view> own,
                     const std::vector<std::string>& unknown) {
  FieldReader fields(body);
  for (const std::string_view name : own) fields.ignore({name});
  for (const auto& [name, value] : body.items())
    if (std::find(unknown.begin(), unknown.end(), name) == unknown.end()) fields.ignore({name});
  fields.reject_misspelt();
}

}  // namespace quern
