// SPDX-License-Identifier: Apache-2.0
#include "api/responses_request.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/random_id.h"
#include "api/response_items.h"
#include "base/json.h"

namespace quern {
namespace {

// Read here, or nothing to the answer; all else goes on to the chat request.
constexpr std::string_view kOwn[] = {"input",
                                     "instructions",
                                     "previous_response_id",
                                     "store",
                                     "max_output_tokens",
                                     "max_tool_calls",
                                     "tools",
                                     "tool_choice",
                                     "text",
                                     "reasoning",
                                     "metadata",
                                     "truncation",
                                     "include",
                                     "background",
                                     "conversation",
                                     "prompt",
                                     "stream_options",
                                     "top_logprobs",
                                     "client_metadata",
                                     "user",
                                     "safety_identifier",
                                     "prompt_cache_key",
                                     "prompt_cache_retention",
                                     "service_tier"};
constexpr size_t kMaxItems = 16384, kMaxMetadata = 16;

Json object_or_null(const Json* value) {
  return value ? *value : Json(nullptr);
}

void refuse_foreign(FieldReader& fields) {
  fields.refuse("background", "this server answers while the client waits");
  fields.refuse("conversation", "use previous_response_id, or send all items");
  fields.refuse("prompt", "this server keeps no prompt templates; send input");
  fields.refuse("n", "a response is one answer", 1);
  fields.refuse("messages", "this dialect calls it input");
  fields.refuse("logprobs", R"(say "include": ["message.output_text.logprobs"])");
  fields.refuse("response_format", "this dialect calls it text.format");
  fields.refuse("reasoning_effort", "this dialect calls it reasoning.effort");
  for (const std::string_view name : {"max_tokens", "max_completion_tokens"})
    fields.refuse(name, "this dialect calls it max_output_tokens");
  for (const std::string_view name : {"functions",
                                      "function_call",
                                      "return_token_ids",
                                      "return_tokens_as_token_ids",
                                      "prompt_logprobs"})
    fields.refuse(name, "this dialect has no place for it");
  for (const std::string_view name : {"continue_final_message", "add_generation_prompt"})
    fields.refuse(name, "it belongs to /v1/chat/completions");
  const auto truncation = fields.string("truncation");
  if (truncation && *truncation != "disabled")
    throw RequestError(ErrorCode::unsupported,
                       "truncation",
                       "truncation: only \"disabled\" is served; what is too long is refused",
                       "unsupported");
}

// The new items, as a list; a string is one message.
Json items_of(FieldReader& fields) {
  const Json* input = fields.find("input");
  if (!input) fail_field("input", "input: missing; expected a string or a list of items");
  if (input->is_string())
    return Json::array({{{"type", "message"},
                         {"role", "user"},
                         {"content", Json::array({{{"type", "input_text"}, {"text", *input}}})}}});
  if (!input->is_array() || input->empty())
    fail_field("input",
               "input: expected a string or a list of items, got {}",
               input->is_array() ? "an empty list" : json_type_name(*input));
  if (input->size() > kMaxItems)
    fail_field("input", "input: {} items, the limit is {}", input->size(), kMaxItems);
  return *input;
}

Json earlier_items(FieldReader& fields, ResponseStore* store, std::string_view owner) {
  const auto id = fields.string("previous_response_id");
  if (!id) return Json::array();
  const auto earlier = store ? store->get(*id, owner) : nullptr;
  if (!earlier)
    throw RequestError(ErrorCode::not_found,
                       "previous_response_id",
                       format("previous_response_id: there is no response \"{}\" (any more); send "
                              "the whole conversation as input",
                              id->substr(0, 64)),
                       "previous_response_not_found");
  return parse_json(earlier->conversation, "the earlier conversation");
}

Json with_ids(Json items) {
  for (Json& item : items) {
    if (!item.is_object()) continue;  // refused where it is read
    if (!item.contains("type")) item["type"] = "message";
    if (!item.contains("id") || !item["id"].is_string())
      item["id"] = random_id(item["type"] == "message" ? "msg_" : "item_");
  }
  return items;
}

Json tool_of(const Json& tool, const std::string& path) {
  FieldReader fields(tool, path + ".");
  if (const std::string type = required_string(fields, "type"); type != "function")
    fail_type(path + ".type", type, "function");
  Json function = {{"name", required_string(fields, "name")}};
  if (const auto text = fields.string("description")) function["description"] = *text;
  if (const Json* parameters = fields.find("parameters")) function["parameters"] = *parameters;
  if (const auto strict = fields.boolean("strict")) function["strict"] = *strict;
  return {{"type", "function"}, {"function", std::move(function)}};
}

void add_tools(TranslatedChat& chat, FieldReader& fields) {
  if (const Json* tools = fields.find("tools")) {
    if (!tools->is_array())
      fail_field("tools", "tools: expected a list, got {}", json_type_name(*tools));
    Json out = Json::array();
    for (size_t i = 0; i < tools->size(); ++i)
      out.push_back(tool_of((*tools)[i], format("tools[{}]", i)));
    chat.set("tools", std::move(out));
  }
  const Json* value = fields.find("tool_choice");
  if (!value) return;
  if (value->is_string()) {
    chat.set("tool_choice", *value);
    return;
  }
  FieldReader choice(*value, "tool_choice.");
  if (const std::string type = required_string(choice, "type"); type != "function")
    fail_type("tool_choice.type", type, "function, and the words auto, none, required");
  chat.set("tool_choice",
           {{"type", "function"}, {"function", {{"name", required_string(choice, "name")}}}});
}

void add_text_format(TranslatedChat& chat, FieldReader& fields) {
  const Json* value = fields.find("text");
  if (!value) return;
  FieldReader text(*value, "text.");
  const Json* format = text.find("format");
  if (!format) return;
  FieldReader reader(*format, "text.format.");
  const std::string type = required_string(reader, "type");
  if (type != "json_schema") {
    chat.set("response_format", *format, "text.format");
    return;
  }
  Json schema = *format;
  schema.erase("type");
  chat.set("response_format",
           {{"type", "json_schema"}, {"json_schema", std::move(schema)}},
           "text.format");
}

void add_reasoning(TranslatedChat& chat, FieldReader& fields) {
  const Json* value = fields.find("reasoning");
  if (!value) return;
  FieldReader reasoning(*value, "reasoning.");
  if (const auto effort = reasoning.string("effort"))
    chat.set("reasoning_effort", *effort, "reasoning.effort");
}

// What else may be included belongs to tools that are not here; there is nothing of it to show.
bool wants_logprobs(FieldReader& fields) {
  const Json* include = fields.find("include");
  if (!include) return false;
  if (!include->is_array())
    fail_field("include", "include: expected a list, got {}", json_type_name(*include));
  bool out = false;
  for (const Json& name : *include) {
    if (name == "message.output_text.logprobs")
      out = true;
    else if (!name.is_string() || name.get_ref<const std::string&>().find('.') == std::string::npos)
      fail_field("include",
                 "include: expected names such as \"message.output_text.logprobs\", got {}",
                 name.is_string() ? name.get<std::string>().substr(0, 64)
                                  : std::string(json_type_name(name)));
  }
  return out;
}

void check_metadata(FieldReader& fields) {
  const Json* metadata = fields.find("metadata");
  if (!metadata) return;
  if (!metadata->is_object() || metadata->size() > kMaxMetadata)
    fail_field("metadata", "metadata: expected an object of at most {} strings", kMaxMetadata);
  for (const auto& [name, value] : metadata->items())
    if (name.size() > 64 || !value.is_string() || value.get_ref<const std::string&>().size() > 512)
      fail_field("metadata",
                 "metadata: expected names of at most 64 bytes and strings of at most 512");
}

void check_stream_options(FieldReader& fields) {
  const Json* options = fields.find("stream_options");
  if (!options) return;
  if (!fields.boolean_or("stream", false))
    fail_field("stream_options", "stream_options: only allowed with \"stream\": true");
  FieldReader reader(*options, "stream_options.");
  reader.ignore({"include_obfuscation", "include_usage"});
  reader.reject_misspelt();
}

// The fields of the response object that repeat the request.
Json shown_of(FieldReader& fields) {
  const auto or_else = [&](const char* name, Json fallback) {
    const Json* value = fields.find(name);
    return value ? *value : fallback;
  };
  Json out = Json::object();
  for (const char* name : {"instructions",
                           "max_output_tokens",
                           "max_tool_calls",
                           "previous_response_id",
                           "prompt_cache_key",
                           "safety_identifier",
                           "user"})
    out[name] = object_or_null(fields.find(name));
  out["metadata"] = or_else("metadata", Json::object());
  out["parallel_tool_calls"] = fields.boolean_or("parallel_tool_calls", true);
  out["reasoning"] = or_else("reasoning", {{"effort", nullptr}, {"summary", nullptr}});
  out["store"] = fields.boolean_or("store", true);
  out["text"] = or_else("text", {{"format", {{"type", "text"}}}});
  out["tool_choice"] = or_else("tool_choice", "auto");
  out["tools"] = or_else("tools", Json::array());
  out["top_logprobs"] = fields.integer("top_logprobs", 0, 20).value_or(0);
  out["truncation"] = "disabled";
  out["background"] = false;
  out["service_tier"] = "default";
  return out;
}

// The JSON text of a list and what is appended to it, without reading it anew.
}  // namespace

ResponsesRequest ResponsesRequest::parse(const Json& body,
                                         ResponseStore* store,
                                         std::string_view owner) {
  FieldReader fields(body);
  ResponsesRequest out;
  refuse_foreign(fields);
  check_metadata(fields);
  check_stream_options(fields);
  if (const auto text = fields.string("instructions"); text && !text->empty())
    out.chat.add_system(*text, "instructions");
  Json items = earlier_items(fields, store, owner);
  add_items(out.chat, items, "previous_response_id");
  const Json added = with_ids(items_of(fields));
  add_items(out.chat, added, "input");
  items.insert(items.end(), added.begin(), added.end());
  out.input = json_text(items);
  out.chat.pass_on(body, kOwn);
  if (const auto tokens = fields.integer("max_output_tokens", 1, INT32_MAX))
    out.chat.set("max_tokens", *tokens, "max_output_tokens");
  add_tools(out.chat, fields);
  add_text_format(out.chat, fields);
  add_reasoning(out.chat, fields);
  out.shows_logprobs = wants_logprobs(fields);
  if (out.shows_logprobs) out.chat.set("logprobs", true, "include");
  if (out.shows_logprobs && fields.has("top_logprobs"))
    out.chat.set("top_logprobs", *fields.find("top_logprobs"));
  out.is_stored = fields.boolean_or("store", true);
  out.shown = std::make_shared<const Json>(shown_of(fields));
  return out;
}

void reject_misspelt_in_responses(const Json& body, const std::vector<std::string>& unknown) {
  reject_misspelt(body, kOwn, unknown);
}

}  // namespace quern
