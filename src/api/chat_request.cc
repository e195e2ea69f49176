// SPDX-License-Identifier: Apache-2.0
#include "api/chat_request.h"

#include <nlohmann/json.hpp>

#include "api/api_error.h"

namespace quern {
namespace {

constexpr size_t kMaxMessages = 16384, kMaxParts = 4096, kMaxTools = 1024, kMaxNameBytes = 256;
constexpr int kMaxTopLogprobs = 20;

const Json* member(const Json& object, std::string_view name) {
  const auto it = object.find(name);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

void check_part(const Json& part, const std::string& path) {
  if (!part.is_object())
    fail_field(path, "{}: expected an object with a type, got {}", path, json_type_name(part));
  const Json* type = member(part, "type");
  if (!type || !type->is_string())
    fail_field(path, "{}: a content part needs a \"type\", such as \"text\"", path);
  const std::string& name = type->get_ref<const std::string&>();
  if (name == "text") {
    const Json* text = member(part, "text");
    if (!text || !text->is_string()) fail_field(path, "{}: expected a string under \"text\"", path);
    return;
  }
  // Media are read where they are loaded; here only what would be nonsense for all of them.
  const Json* value = member(part, name);
  if (!value)
    fail_field(path,
               "{}: a part of type \"{}\" needs a field \"{}\"",
               path,
               name.substr(0, 64),
               name.substr(0, 64));
  if (name == "refusal") fail_field(path, "{}: parts of type \"refusal\" are not input", path);
}

void check_content(const Json& content, const std::string& path) {
  if (content.is_string()) return;
  if (!content.is_array())
    fail_field(
        path, "{}: expected a string or an array of parts, got {}", path, json_type_name(content));
  if (content.size() > kMaxParts)
    fail_field(path, "{}: {} parts, the limit is {}", path, content.size(), kMaxParts);
  for (size_t i = 0; i < content.size(); ++i) check_part(content[i], format("{}[{}]", path, i));
}

// Templates print arguments as an object; clients send back the string that they were given.
void parse_tool_calls(Json& message, const std::string& path) {
  const auto calls = message.find("tool_calls");
  if (calls == message.end() || calls->is_null()) return;
  if (!calls->is_array())
    fail_field(path, "{}: expected an array, got {}", path, json_type_name(*calls));
  for (Json& call : *calls) {
    if (!call.is_object())
      fail_field(path, "{}: expected objects, got {}", path, json_type_name(call));
    const auto function = call.find("function");
    if (function == call.end() || !function->is_object() || !member(*function, "name"))
      fail_field(path, "{}: each call needs a function with a name", path);
    const auto arguments = function->find("arguments");
    if (arguments == function->end() || arguments->is_null()) {
      (*function)["arguments"] = Json::object();
    } else if (arguments->is_string()) {
      const std::string text = arguments->get<std::string>();
      *arguments = text.empty() ? Json::object() : parse_json(text, path + ".function.arguments");
    }
  }
}

// Clients send reasoning back under one name or the other; templates read one or the other.
void name_reasoning_twice(Json& message) {
  const Json* older = member(message, "reasoning_content");
  const Json* newer = member(message, "reasoning");
  if (newer && newer->is_string() && !older) message["reasoning_content"] = Json(*newer);
  if (older && older->is_string() && !newer) message["reasoning"] = Json(*older);
}

void check_message(Json& message, const std::string& path) {
  if (!message.is_object())
    fail_field(path, "{}: expected an object, got {}", path, json_type_name(message));
  const Json* role = member(message, "role");
  if (!role || !role->is_string()) fail_field(path, "{}: a message needs a \"role\"", path);
  const std::string& name = role->get_ref<const std::string&>();
  if (name.empty() || name.size() > 64)
    fail_field(path + ".role", "{}.role: a role has 1 to 64 bytes", path);
  const Json* content = member(message, "content");
  if (content) check_content(*content, path + ".content");
  parse_tool_calls(message, path + ".tool_calls");
  if (name == "assistant") name_reasoning_twice(message);
  if (!content && !member(message, "tool_calls") && name != "assistant")
    fail_field(path + ".content", "{}.content: missing", path);
}

std::shared_ptr<const Json> messages_of(FieldReader& fields) {
  const Json* field = fields.find("messages");
  if (!field)
    fail_field("messages", "messages: missing; expected an array of {{\"role\", \"content\"}}");
  if (!field->is_array() || field->empty())
    fail_field("messages",
               "messages: expected an array of at least one message, got {}",
               field->is_array() ? "an empty one" : json_type_name(*field));
  if (field->size() > kMaxMessages)
    fail_field("messages", "messages: {} messages, the limit is {}", field->size(), kMaxMessages);
  auto messages = std::make_shared<Json>(*field);
  for (size_t i = 0; i < messages->size(); ++i)
    check_message((*messages)[i], format("messages[{}]", i));
  return messages;
}

std::shared_ptr<const Json> tools_of(FieldReader& fields) {
  const Json* field = fields.find("tools");
  if (!field) return nullptr;
  if (!field->is_array())
    fail_field("tools", "tools: expected an array, got {}", json_type_name(*field));
  if (field->empty()) return nullptr;
  if (field->size() > kMaxTools)
    fail_field("tools", "tools: {} tools, the limit is {}", field->size(), kMaxTools);
  for (const Json& tool : *field) {
    const Json* function = tool.is_object() ? member(tool, "function") : nullptr;
    const Json* name = function && function->is_object() ? member(*function, "name") : nullptr;
    if (!name || !name->is_string() || name->get_ref<const std::string&>().size() > kMaxNameBytes)
      fail_field(
          "tools",
          "tools: each tool is {{\"type\": \"function\", \"function\": {{\"name\", …}}}}; a name "
          "has at most {} bytes",
          kMaxNameBytes);
    const Json* parameters = member(*function, "parameters");
    if (parameters && !parameters->is_object())
      fail_field("tools",
                 "tools: parameters are a JSON schema, an object, got {}",
                 json_type_name(*parameters));
  }
  return std::make_shared<const Json>(*field);
}

std::shared_ptr<const Json> kwargs_of(FieldReader& fields) {
  Json kwargs = Json::object();
  if (const Json* field = fields.find("chat_template_kwargs")) {
    if (!field->is_object())
      fail_field("chat_template_kwargs",
                 "chat_template_kwargs: expected an object, got {}",
                 json_type_name(*field));
    kwargs = *field;
  }
  if (const auto effort = fields.string("reasoning_effort"))
    if (!kwargs.contains("reasoning_effort")) kwargs["reasoning_effort"] = *effort;
  if (const Json* documents = fields.find("documents")) kwargs["documents"] = *documents;
  return kwargs.empty() ? nullptr : std::make_shared<const Json>(std::move(kwargs));
}

ProcessorOptions processor_of(FieldReader& fields) {
  const Json* field = fields.find("mm_processor_kwargs");
  if (!field) return {};
  try {
    return ProcessorOptions::parse(*field, "mm_processor_kwargs");
  } catch (const Error& error) {
    fail_field("mm_processor_kwargs", "{}", error.what());
  }
}

void check_modalities(FieldReader& fields) {
  const Json* list = fields.find("modalities");
  if (list && *list != Json::array({"text"}))
    throw RequestError(ErrorCode::unsupported,
                       "modalities",
                       "modalities: this model answers in text only",
                       "unsupported");
}

}  // namespace

StreamOptions StreamOptions::parse(FieldReader& fields, bool& stream) {
  StreamOptions out;
  stream = fields.boolean_or("stream", false);
  const Json* options = fields.find("stream_options");
  if (!options) return out;
  if (!stream) fail_field("stream_options", "stream_options: only allowed with \"stream\": true");
  FieldReader reader(*options, "stream_options.");
  out.include_usage = reader.boolean_or("include_usage", false);
  out.continuous_usage_stats = reader.boolean_or("continuous_usage_stats", false);
  reader.ignore({"include_obfuscation"});
  reader.reject_misspelt();
  return out;
}

ChatMessages ChatMessages::parse(FieldReader& fields) {
  ChatMessages out;
  out.messages = messages_of(fields);
  out.tools = tools_of(fields);
  out.template_kwargs = kwargs_of(fields);
  out.processor = processor_of(fields);
  out.add_generation_prompt = fields.boolean_or("add_generation_prompt", true);
  out.continue_final_message = fields.boolean_or("continue_final_message", false);
  out.add_special_tokens = fields.boolean_or("add_special_tokens", false);
  fields.refuse("chat_template", "the template is the operator's to choose (--chat-template)");
  if (out.continue_final_message && fields.find("add_generation_prompt") &&
      out.add_generation_prompt)
    fail_field("continue_final_message",
               "continue_final_message and add_generation_prompt exclude each other");
  if (out.continue_final_message) out.add_generation_prompt = false;
  return out;
}

ChatRequest ChatRequest::parse(const Json& body, std::vector<std::string>* ignored) {
  FieldReader fields(body);
  ChatRequest out;
  out.model = fields.string("model").value_or("");
  out.chat = ChatMessages::parse(fields);
  out.sampling = SamplingFields::parse(fields);
  out.stream_options = StreamOptions::parse(fields, out.stream);
  // The newer name wins where both are given.
  const auto older = fields.integer("max_tokens", 1, INT32_MAX);
  const auto newer = fields.integer("max_completion_tokens", 1, INT32_MAX);
  if (newer || older) out.sampling.max_tokens = static_cast<int>(newer ? *newer : *older);
  const auto top = fields.integer("top_logprobs", 0, kMaxTopLogprobs);
  if (fields.boolean_or("logprobs", false))
    out.sampling.logprobs = static_cast<int>(top.value_or(0));
  else if (top && *top > 0)
    fail_field("top_logprobs", "top_logprobs: only allowed with \"logprobs\": true");
  out.tool_use = ToolUse::parse(fields, out.chat.tools.get());
  out.chat.must_show_tools = out.tool_use.choice.mode == ToolChoice::Mode::automatic;
  check_modalities(fields);
  fields.refuse("functions", "use tools");
  fields.refuse("function_call", "use tools");
  fields.refuse("audio", "this version answers in text only");
  fields.refuse("web_search_options", "remove it");
  fields.refuse("echo", "only completions echo their prompt");
  fields.ignore({"prediction", "verbosity"});
  std::vector<std::string> unknown = fields.reject_misspelt();
  if (ignored) *ignored = std::move(unknown);
  return out;
}

}  // namespace quern
