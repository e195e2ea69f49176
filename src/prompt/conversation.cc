// SPDX-License-Identifier: Apache-2.0
#include "prompt/conversation.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "prompt/media_source.h"

namespace quern {
namespace {

// A template looks at keys, never at data: a data: URL of megabytes need not pass through it.
Json without_data(const Json& value) {
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    return text.starts_with("data:") ? Json("data:") : value;
  }
  if (!value.is_structured()) return value;
  Json out = value.is_array() ? Json::array() : Json::object();
  for (const auto& [key, item] : value.items()) {
    if (value.is_array()) {
      out.push_back(without_data(item));
    } else {
      out[key] = without_data(item);
    }
  }
  return out;
}

const std::string& text_of(const Json& part, const std::string& where) {
  const auto text = part.is_object() ? part.find("text") : part.end();
  if (!part.is_object() || text == part.end() || !text->is_string())
    fail(ErrorCode::invalid_argument,
         "{}: expected a text part or a medium: {{\"type\": \"text\", \"text\": \"…\"}}",
         where);
  return text->get_ref<const std::string&>();
}

std::string join_texts(const Json& parts, const std::string& where) {
  std::string joined;
  for (size_t j = 0; j < parts.size(); ++j) {
    const std::string part = format("{}[{}]", where, j);
    if (const auto kind = media_kind_of(parts[j]))
      fail(ErrorCode::invalid_argument,
           "{}: this model takes text only, got a part that carries media ({})",
           part,
           name_of(*kind));
    if (j > 0) joined += '\n';
    joined += text_of(parts[j], part);
  }
  return joined;
}

Json read_parts(const Json& parts, const std::string& where, std::vector<MediaPart>& media) {
  Json out = Json::array();
  for (size_t j = 0; j < parts.size(); ++j) {
    const Json& part = parts[j];
    const std::string place = format("{}[{}]", where, j);
    if (const auto kind = media_kind_of(part)) {
      media.push_back({&part, place, *kind});
      Json shown = without_data(part);
      if (shown.contains("input_audio") && shown["input_audio"].is_object())
        shown["input_audio"]["data"] = "data:";  // base64 without the scheme
      shown["type"] = name_of(*kind);
      out.push_back(std::move(shown));
    } else {
      text_of(part, place);
      out.push_back(part);
    }
  }
  return out;
}

// OpenAI sends a tool call's arguments as JSON text; templates expect the object.
void parse_arguments(Json& message) {
  const auto calls = message.find("tool_calls");
  if (calls == message.end() || !calls->is_array()) return;
  for (Json& call : *calls) {
    if (!call.is_object() || !call.contains("function") || !call["function"].is_object()) continue;
    Json& function = call["function"];
    const auto arguments = function.find("arguments");
    if (arguments == function.end() || !arguments->is_string()) continue;
    const std::string text = arguments->get<std::string>();
    function["arguments"] =
        text.empty() ? Json::object() : parse_json(text, "arguments of a tool call");
  }
}

Json read_message(const Json& message,
                  const std::string& where,
                  bool takes_media,
                  std::vector<MediaPart>& media) {
  if (!message.is_object() || !message.contains("role") || !message["role"].is_string())
    fail(ErrorCode::invalid_argument, "{}: expected an object with a \"role\"", where);
  Json out = Json::object();
  for (const auto& [key, value] : message.items()) {
    if (key != "content") {
      out[key] = value;
    } else if (value.is_array()) {
      const std::string content = where + ".content";
      out[key] = takes_media ? read_parts(value, content, media) : Json(join_texts(value, content));
    } else if (value.is_string() || value.is_null()) {
      out[key] = value;
    } else {
      fail(ErrorCode::invalid_argument, "{}.content: expected a string or a list of parts", where);
    }
  }
  with_context(where, [&] { parse_arguments(out); });
  return out;
}

constexpr std::string_view kMark =
    "CONTINUE_FINAL_MESSAGE_MARK ";  // ends in a blank: shows whether the template trims

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\n\r\f\v";
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// The text that is to be continued: of the last message, and there of the last part that has some.
std::string& final_text(Json& messages) {
  if (!messages.empty() && messages.back().contains("content")) {
    Json& content = messages.back()["content"];
    if (content.is_string()) return content.get_ref<std::string&>();
    if (content.is_array())
      for (auto part = content.rbegin(); part != content.rend(); ++part)
        if (part->contains("text")) return (*part)["text"].get_ref<std::string&>();
  }
  fail(ErrorCode::invalid_argument,
       "continue_final_message: the last message has no text to continue");
}

}  // namespace

Json read_conversation(const Json& messages, bool takes_media, std::vector<MediaPart>& media) {
  if (!messages.is_array() || messages.empty())
    fail(ErrorCode::invalid_argument, "messages: expected a list with at least one message");
  Json out = Json::array();
  for (size_t i = 0; i < messages.size(); ++i)
    out.push_back(read_message(messages[i], format("messages[{}]", i), takes_media, media));
  return out;
}

std::string render_continued(const ChatTemplate& chat_template,
                             Json variables,
                             int64_t now_unix_s) {
  std::string& text = final_text(variables["messages"]);
  const std::string wanted(trimmed(text));
  text += kMark;
  std::string rendered = chat_template.render(variables, now_unix_s);
  const size_t at = rendered.rfind(trimmed(kMark));
  if (at == std::string::npos || rendered.find(wanted) == std::string::npos)
    fail(ErrorCode::invalid_argument,
         "continue_final_message: the chat template does not show the last message as it is");
  const bool is_trimmed = rendered.compare(at, kMark.size(), kMark) != 0;
  rendered.resize(at);
  if (is_trimmed) rendered.erase(rendered.find_last_not_of(" \t\n\r\f\v") + 1);
  return rendered;
}

}  // namespace quern
