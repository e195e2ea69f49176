// SPDX-License-Identifier: Apache-2.0
#include "api/text_or_tokens.h"

#include <nlohmann/json.hpp>

#include "api/api_error.h"

namespace quern {
namespace {

TokenIds token_ids_of(const Json& list, std::string_view name) {
  if (list.empty()) fail_field(name, "{}: an empty list of token ids", name);
  if (list.size() > kMaxPromptTokens)
    fail_field(name, "{}: {} token ids, the limit is {}", name, list.size(), kMaxPromptTokens);
  TokenIds ids;
  ids.reserve(list.size());
  for (const Json& id : list) ids.push_back(token_id_of(id, name));
  return ids;
}

}  // namespace

std::vector<TextOrTokens> texts_or_tokens(FieldReader& fields, std::string_view name, size_t most) {
  const Json* field = fields.find(name);
  if (!field)
    fail_field(name, "{}: missing; expected a string, token ids, or a list of either", name);
  if (field->is_string()) return {field->get<std::string>()};
  if (!field->is_array() || field->empty())
    fail_field(name,
               "{}: expected a string, token ids, or a list of either, got {}",
               name,
               field->is_array() ? "an empty list" : json_type_name(*field));
  if (field->front().is_number()) return {token_ids_of(*field, name)};
  if (field->size() > most)
    fail_field(name, "{}: {} {}s, the limit is {}", name, field->size(), name, most);
  std::vector<TextOrTokens> out;
  for (const Json& item : *field) {
    if (item.is_string())
      out.emplace_back(item.get<std::string>());
    else if (item.is_array())
      out.emplace_back(token_ids_of(item, name));
    else
      fail_field(
          name, "{}: expected strings or lists of token ids, got {}", name, json_type_name(item));
  }
  return out;
}

}  // namespace quern
