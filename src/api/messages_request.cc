// SPDX-License-Identifier: Apache-2.0
#include "api/messages_request.h"

#include <nlohmann/json.hpp>

namespace quern {
namespace {

// Read here, or nothing to the answer; all else goes on to the chat request.
constexpr std::string_view kOwn[] = {"messages",
                                     "system",
                                     "max_tokens",
                                     "stop_sequences",
                                     "tools",
                                     "tool_choice",
                                     "thinking",
                                     "output_config",
                                     "output_format",
                                     "metadata",
                                     "service_tier",
                                     "cache_control",
                                     "inference_geo",
                                     "container",
                                     "mcp_servers",
                                     "context_management"};
constexpr std::string_view kAssistantBlocks = "text, tool_use, thinking, redacted_thinking";

// The text of a string, or of a list of text blocks.
std::string text_of(const Json& value, const std::string& path) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array())
    fail_field(path, "{}: expected a string or text blocks, got {}", path, json_type_name(value));
  std::string out;
  for (size_t i = 0; i < value.size(); ++i) {
    const std::string place = format("{}[{}]", path, i);
    FieldReader block(value[i], place + ".");
    if (const std::string type = required_string(block, "type"); type != "text")
      fail_type(place + ".type", type, "text");
    out += (i > 0 ? "\n" : "") + required_string(block, "text");
  }
  return out;
}

Json picture_of(FieldReader& block, const std::string& path) {
  const Json* value = block.find("source");
  if (!value) fail_field(path + ".source", "{}.source: missing; expected an object", path);
  FieldReader source(*value, path + ".source.");
  const std::string type = required_string(source, "type");
  std::string url;
  if (type == "base64")
    url = format("data:{};base64,{}",
                 required_string(source, "media_type"),
                 required_string(source, "data"));
  else if (type == "url")
    url = required_string(source, "url");
  else
    fail_type(path + ".source.type", type, "base64, url");
  return {{"type", "image_url"}, {"image_url", {{"url", std::move(url)}}}};
}

// The content blocks of one message, as the chat messages that they become.
class MessageBlocks {
 public:
  MessageBlocks(TranslatedChat& chat, bool is_user, std::string path)
      : chat_(chat), is_user_(is_user), path_(std::move(path)) {}

  void add(const Json& block, const std::string& path) {
    FieldReader fields(block, path + ".");
    const std::string type = required_string(fields, "type");
    if (type == "text")
      add_part({{"type", "text"}, {"text", required_string(fields, "text")}}, path);
    else if (type == "image" && is_user_)
      add_part(picture_of(fields, path), path);
    else if (type == "tool_result" && is_user_)
      add_result(fields, path);
    else if (type == "tool_use" && !is_user_)
      add_call(fields, path);
    else if (type == "thinking" && !is_user_)
      thinking_ += required_string(fields, "thinking");
    else if (type != "redacted_thinking" || is_user_)  // nobody but its maker can read that one
      fail_type(path + ".type", type, is_user_ ? "text, image, tool_result" : kAssistantBlocks);
  }

  void finish() {
    if (is_user_)
      flush_user();
    else
      flush_assistant();
  }

 private:
  void add_part(Json part, const std::string& path) {
    parts_.push_back(std::move(part));
    places_.push_back(path);
  }

  // Templates know pictures in what a user says: those of a result follow it there.
  void add_result(FieldReader& fields, const std::string& path) {
    flush_user();
    const std::string call = required_string(fields, "tool_use_id");
    std::string text;
    const Json* content = fields.find("content");
    if (content && content->is_array()) {
      for (size_t i = 0; i < content->size(); ++i) {
        const std::string place = format("{}.content[{}]", path, i);
        FieldReader block((*content)[i], place + ".");
        const std::string type = required_string(block, "type");
        if (type == "text")
          text += (text.empty() ? "" : "\n") + required_string(block, "text");
        else if (type == "image")
          add_part(picture_of(block, place), place);
        else
          fail_type(place + ".type", type, "text, image");
      }
    } else if (content) {
      text = text_of(*content, path + ".content");
    }
    chat_.add_message({{"role", "tool"}, {"tool_call_id", call}, {"content", text}}, path);
  }

  void add_call(FieldReader& fields, const std::string& path) {
    const Json* input = fields.find("input");
    if (input && !input->is_object())
      fail_field(
          path + ".input", "{}.input: expected an object, got {}", path, json_type_name(*input));
    calls_.push_back({{"id", required_string(fields, "id")},
                      {"type", "function"},
                      {"function",
                       {{"name", required_string(fields, "name")},
                        {"arguments", input ? *input : Json::object()}}}});
  }

  void flush_user() {
    if (parts_.empty()) return;
    if (parts_.size() == 1 && parts_[0]["type"] == "text") {  // as every template knows it
      parts_ = std::move(parts_[0]["text"]);
      places_.clear();
    }
    chat_.add_message({{"role", "user"}, {"content", std::move(parts_)}}, path_, places_);
    parts_ = Json::array();
    places_.clear();
  }

  void flush_assistant() {
    std::string text;
    for (const Json& part : parts_) text += part["text"].get_ref<const std::string&>();
    Json message = {{"role", "assistant"}, {"content", std::move(text)}};
    if (!thinking_.empty()) message["reasoning_content"] = thinking_;
    if (!calls_.empty()) message["tool_calls"] = std::move(calls_);
    chat_.add_message(std::move(message), path_);
  }

  TranslatedChat& chat_;
  const bool is_user_;
  const std::string path_;
  Json parts_ = Json::array(), calls_ = Json::array();
  std::vector<std::string> places_;
  std::string thinking_;
};

void add_message(TranslatedChat& chat, const Json& message, const std::string& path) {
  FieldReader fields(message, path + ".");
  const std::string role = required_string(fields, "role");
  if (role != "user" && role != "assistant")
    fail_field(path + ".role",
               "{}.role: expected \"user\" or \"assistant\", got \"{}\"; what the system says "
               "stands in the field system",
               path,
               role.substr(0, 64));
  const Json* content = fields.find("content");
  if (!content) fail_field(path + ".content", "{}.content: missing", path);
  if (content->is_string()) {
    chat.add_message({{"role", role}, {"content", *content}}, path);
    return;
  }
  if (!content->is_array() || content->empty())
    fail_field(path + ".content",
               "{}.content: expected a string or blocks, got {}",
               path,
               content->is_array() ? "an empty list" : json_type_name(*content));
  MessageBlocks blocks(chat, role == "user", path);
  for (size_t i = 0; i < content->size(); ++i)
    blocks.add((*content)[i], format("{}.content[{}]", path, i));
  blocks.finish();
}

void add_messages(TranslatedChat& chat, FieldReader& fields) {
  if (const Json* system = fields.find("system"))
    if (const std::string text = text_of(*system, "system"); !text.empty())
      chat.add_system(text, "system");
  const Json* messages = fields.find("messages");
  if (!messages || !messages->is_array() || messages->empty())
    fail_field("messages",
               "messages: expected a list of at least one message, got {}",
               !messages              ? "none"
               : messages->is_array() ? "an empty one"
                                      : json_type_name(*messages));
  for (size_t i = 0; i < messages->size(); ++i)
    add_message(chat, (*messages)[i], format("messages[{}]", i));
  // An answer that the client has begun is carried on.
  const Json& last = chat.body()["messages"].back();
  if (last["role"] == "assistant" && !last.contains("tool_calls") && last["content"] != "")
    chat.set("continue_final_message", true);
}

Json tool_of(const Json& tool, const std::string& path) {
  FieldReader fields(tool, path + ".");
  if (const auto type = fields.string("type"); type && *type != "custom")
    fail_type(path + ".type", *type, "custom");
  Json function = {{"name", required_string(fields, "name")}};
  if (const auto text = fields.string("description")) function["description"] = *text;
  const Json* schema = fields.find("input_schema");
  if (!schema || !schema->is_object())
    fail_field(path + ".input_schema",
               "{}.input_schema: expected an object, got {}",
               path,
               schema ? json_type_name(*schema) : "none");
  function["parameters"] = *schema;
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
  FieldReader choice(*value, "tool_choice.");
  const std::string type = required_string(choice, "type");
  if (type == "auto" || type == "none")
    chat.set("tool_choice", type);
  else if (type == "any")
    chat.set("tool_choice", "required");
  else if (type == "tool")
    chat.set("tool_choice",
             {{"type", "function"}, {"function", {{"name", required_string(choice, "name")}}}});
  else
    fail_type("tool_choice.type", type, "auto, any, tool, none");
  if (choice.boolean_or("disable_parallel_tool_use", false))
    chat.set("parallel_tool_calls", false, "tool_choice.disable_parallel_tool_use");
}

// Both names that templates go by. How long a model thinks is its own affair: budget_tokens is a
// target that it never sees.
void add_thinking(TranslatedChat& chat, FieldReader& fields) {
  const Json* value = fields.find("thinking");
  if (!value) return;
  FieldReader thinking(*value, "thinking.");
  const std::string type = required_string(thinking, "type");
  if (type == "adaptive") return;
  if (type != "enabled" && type != "disabled")
    fail_type("thinking.type", type, "enabled, disabled, adaptive");
  const bool is_on = type == "enabled";
  thinking.integer("budget_tokens", 1, INT32_MAX);
  Json kwargs = Json::object();
  if (const auto given = chat.body().find("chat_template_kwargs");
      given != chat.body().end() && given->is_object())
    kwargs = *given;
  for (const char* name : {"enable_thinking", "thinking"})
    if (!kwargs.contains(name)) kwargs[name] = is_on;
  chat.set("chat_template_kwargs", std::move(kwargs));
}

void add_format(TranslatedChat& chat, const Json& value, const std::string& path) {
  FieldReader format(value, path + ".");
  if (const std::string type = required_string(format, "type"); type != "json_schema")
    fail_type(path + ".type", type, "json_schema");
  const Json* schema = format.find("schema");
  if (!schema) fail_field(path + ".schema", "{}.schema: missing; expected an object", path);
  chat.set("response_format",
           {{"type", "json_schema"},
            {"json_schema", {{"name", "answer"}, {"schema", *schema}, {"strict", true}}}},
           path);
}

void add_output_config(TranslatedChat& chat, FieldReader& fields) {
  if (const Json* format = fields.find("output_format")) add_format(chat, *format, "output_format");
  const Json* value = fields.find("output_config");
  if (!value) return;
  FieldReader config(*value, "output_config.");
  if (const auto effort = config.string("effort"))
    chat.set("reasoning_effort", *effort, "output_config.effort");
  if (const Json* format = config.find("format")) add_format(chat, *format, "output_config.format");
}

void refuse_foreign(FieldReader& fields) {
  fields.refuse("mcp_servers", "this server calls no other ones");
  fields.refuse("container", "this server runs no code");
  fields.refuse("context_management", "send the messages that the model is to see");
  fields.refuse("n", "a message is one answer", 1);
  for (const std::string_view name : {"stop", "max_completion_tokens", "response_format"})
    fields.refuse(name, "it belongs to /v1/chat/completions");
  for (const std::string_view name : {"logprobs",
                                      "top_logprobs",
                                      "prompt_logprobs",
                                      "return_token_ids",
                                      "return_tokens_as_token_ids"})
    fields.refuse(name, "this dialect has no place for it; use /v1/chat/completions");
  fields.refuse("stream_options", "usage is always sent");
}

}  // namespace

TranslatedChat chat_of_messages(const Json& body, bool counts_only) {
  FieldReader fields(body);
  TranslatedChat chat;
  refuse_foreign(fields);
  add_messages(chat, fields);
  chat.pass_on(body, kOwn);
  const auto max_tokens = fields.integer("max_tokens", 1, INT32_MAX);
  if (max_tokens)
    chat.set("max_tokens", *max_tokens);
  else if (!counts_only)
    fail_field("max_tokens",
               "max_tokens: missing; expected the most tokens that an answer may have");
  if (const Json* stop = fields.find("stop_sequences")) chat.set("stop", *stop, "stop_sequences");
  add_tools(chat, fields);
  add_thinking(chat, fields);
  add_output_config(chat, fields);
  return chat;
}

void reject_misspelt_in_messages(const Json& body, const std::vector<std::string>& unknown) {
  reject_misspelt(body, kOwn, unknown);
}

}  // namespace quern
