// SPDX-License-Identifier: Apache-2.0
#include "prompt/template_files.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/file.h"

namespace quern {
namespace {

constexpr size_t kMaxTemplateBytes = size_t{4} << 20;

// The serialized chats of iFlytek's data tools: <System>, <User> and <Bot>, each turn closed by
// <end>. Thoughts of earlier turns are left out; a new one begins with <unused6> and ends with
// <unused7>.
constexpr std::string_view kSparkTemplate = R"JINJA({%- for message in messages -%}
{%- if message.content is string -%}{%- set text = message.content -%}
{%- elif message.content -%}{%- set text = message.content | map(attribute='text') | join('') -%}
{%- else -%}{%- set text = '' -%}{%- endif -%}
{%- if message.role == 'system' -%}{{ '<System> ' + text + '<end>' }}
{%- elif message.role == 'user' -%}{{ '<User> ' + text + '<end>' }}
{%- elif message.role == 'assistant' -%}{{ '<Bot> ' + text + '<end>' }}
{%- else -%}{{ raise_exception('messages of role ' + message.role + ' have no form in this family') }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<Bot> ' }}{%- endif -%})JINJA";

std::optional<Json> read_if_there(const std::string& path) {
  if (!file_exists(path)) return std::nullopt;
  Json json = read_json_file(path);
  if (!json.is_object()) fail(ErrorCode::data_loss, "{}: expected an object", path);
  return json;
}

// A list of {name, template}: "default" and "tool_use" have a meaning.
TemplateFiles read_list(const Json& list, const std::string& path) {
  TemplateFiles files;
  for (const Json& entry : list) {
    const bool is_entry = entry.is_object() && entry.contains("name") &&
                          entry.contains("template") && entry["name"].is_string() &&
                          entry["template"].is_string();
    if (!is_entry)
      fail(ErrorCode::data_loss, "{}: chat_template: expected a list of {{name, template}}", path);
    if (entry["name"] == "default") files.standard = entry["template"];
    if (entry["name"] == "tool_use") files.tool_use = entry["template"];
  }
  return files;
}

// Whether the file said anything.
bool read_from(const std::string& path, TemplateFiles& files) {
  const std::optional<Json> json = read_if_there(path);
  const auto found = json ? json->find("chat_template") : Json::const_iterator();
  if (!json || found == json->end() || found->is_null()) return false;
  if (found->is_string()) {
    files.standard = found->get<std::string>();
  } else if (found->is_array()) {
    files = read_list(*found, path);
  } else {
    fail(ErrorCode::data_loss, "{}: chat_template: expected a string or a list", path);
  }
  return true;
}

// A token is written as a string or as an object that describes it.
std::optional<std::string> token_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("content") && value["content"].is_string())
    return value["content"].get<std::string>();
  return std::nullopt;
}

std::string model_type_in(const std::string& folder) {
  const std::optional<Json> config = read_if_there(folder + "/config.json");
  const auto type = config ? config->find("model_type") : Json::const_iterator();
  return config && type != config->end() && type->is_string() ? type->get<std::string>() : "";
}

}  // namespace

TemplateFiles read_template_files(const std::string& folder) {
  TemplateFiles files;
  if (const std::string path = folder + "/chat_template.jinja"; file_exists(path)) {
    files.standard = read_file(path, kMaxTemplateBytes);
  } else if (!read_from(folder + "/chat_template.json", files)) {
    read_from(folder + "/tokenizer_config.json", files);
  }
  if (files.standard.empty() && model_type_in(folder) == "spark") {
    files.standard = kSparkTemplate;
    files.is_fallback = true;
  }
  return files;
}

Json read_special_tokens(const std::string& folder) {
  Json variables = Json::object();
  for (const char* file : {"/special_tokens_map.json", "/tokenizer_config.json"}) {
    const std::optional<Json> json = read_if_there(folder + file);
    if (!json) continue;
    for (const char* key : {"bos_token",
                            "eos_token",
                            "unk_token",
                            "sep_token",
                            "pad_token",
                            "cls_token",
                            "mask_token"})
      if (const auto found = json->find(key); found != json->end())
        if (auto text = token_text(*found)) variables[key] = *text;
    const auto more = json->find("additional_special_tokens");
    if (more == json->end() || !more->is_array()) continue;
    Json list = Json::array();
    for (const Json& token : *more)
      if (auto text = token_text(token)) list.push_back(*text);
    variables["additional_special_tokens"] = std::move(list);
  }
  return variables;
}

}  // namespace quern
