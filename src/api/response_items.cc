// SPDX-License-Identifier: Apache-2.0
#include "api/response_items.h"

#include <nlohmann/json.hpp>

namespace quern {
namespace {

constexpr std::string_view kServedItems = "message, function_call, function_call_output, reasoning";
constexpr std::string_view kServedParts = "input_text, input_image, output_text";

Json image_of(FieldReader& part, const std::string& path) {
  part.refuse("file_id", "this server keeps no files; send image_url");
  Json url = {{"url", required_string(part, "image_url")}};
  if (const auto detail = part.string("detail")) url["detail"] = *detail;
  if (url["url"] == "") fail_field(path + ".image_url", "{}.image_url: an empty URL", path);
  return {{"type", "image_url"}, {"image_url", std::move(url)}};
}

Json part_of(const Json& value, const std::string& path) {
  FieldReader part(value, path + ".");
  const std::string type = required_string(part, "type");
  if (type == "input_text" || type == "output_text" || type == "text")
    return {{"type", "text"}, {"text", required_string(part, "text")}};
  if (type == "refusal") return {{"type", "text"}, {"text", required_string(part, "refusal")}};
  if (type == "input_image") return image_of(part, path);
  // What chat requests take besides, spelt as there.
  if (type == "input_audio" || type == "video_url" || type == "image_url") return value;
  fail_type(path + ".type", type, kServedParts);
}

struct Content {
  Json value = Json("");  // a string, or parts of a chat message
  std::vector<std::string> places;
};

// One text alone is a string, as every template knows it.
Content simplified(Content content) {
  if (content.places.size() != 1 || content.value[0]["type"] != "text") return content;
  return {.value = std::move(content.value[0]["text"]), .places = {}};
}

Content content_of(const Json& value, const std::string& path) {
  Content out;
  if (value.is_string()) {
    out.value = value;
    return out;
  }
  if (!value.is_array())
    fail_field(
        path, "{}: expected a string or a list of parts, got {}", path, json_type_name(value));
  out.value = Json::array();
  for (size_t i = 0; i < value.size(); ++i) {
    out.places.push_back(format("{}[{}]", path, i));
    out.value.push_back(part_of(value[i], out.places.back()));
  }
  return simplified(std::move(out));
}

// The text alone, for roles whose templates take strings only.
std::string text_of(const Content& content, const std::string& path) {
  if (content.value.is_string()) return content.value.get<std::string>();
  std::string out;
  for (const Json& part : content.value) {
    if (part["type"] != "text")
      fail_field(path, "{}: expected text, got a part of type {}", path, part["type"].dump());
    out += part["text"].get_ref<const std::string&>();
  }
  return out;
}

// What stands under "summary" or "content" of a reasoning item.
std::string thoughts_in(FieldReader& item, const char* name) {
  const Json* parts = item.find(name);
  if (!parts) return {};
  if (!parts->is_array())
    fail_field(item.path(name),
               "{}: expected a list of parts, got {}",
               item.path(name),
               json_type_name(*parts));
  std::string out;
  for (size_t i = 0; i < parts->size(); ++i) {
    FieldReader part((*parts)[i], format("{}[{}].", item.path(name), i));
    out += (i > 0 ? "\n" : "") + required_string(part, "text");
  }
  return out;
}

// Reasoning, text and calls of one turn are items of their own here and one message there.
class ItemReader {
 public:
  ItemReader(TranslatedChat& chat) : chat_(chat) {}

  void add(const Json& value, const std::string& path) {
    FieldReader item(value, path + ".");
    const std::string type = item.string("type").value_or("message");
    if (type == "message")
      add_message(item, path);
    else if (type == "function_call")
      add_call(item, path);
    else if (type == "function_call_output")
      add_output(item, path);
    else if (type == "reasoning")
      add_reasoning(item, path);
    else
      fail_type(path + ".type", type, kServedItems);
  }

  void finish() {
    if (turn_.empty()) return;
    if (!turn_.contains("content")) turn_["content"] = "";
    chat_.add_message(std::move(turn_), turn_path_);
    turn_ = Json::object();
  }

 private:
  Json& turn(const std::string& path) {
    if (turn_.empty()) {
      turn_ = {{"role", "assistant"}};
      turn_path_ = path;
    }
    return turn_;
  }

  void add_message(FieldReader& item, const std::string& path) {
    const std::string role = required_string(item, "role");
    const Json* value = item.find("content");
    if (!value) fail_field(path + ".content", "{}.content: missing", path);
    Content content = content_of(*value, path + ".content");
    if (role == "assistant") {
      std::string text = text_of(content, path + ".content");
      if (turn_.contains("content") || turn_.contains("tool_calls")) finish();
      turn(path)["content"] = std::move(text);
      return;
    }
    finish();
    if (role == "system" || role == "developer")
      chat_.add_system(text_of(content, path + ".content"), path);
    else if (role == "user")
      chat_.add_message(
          {{"role", role}, {"content", std::move(content.value)}}, path, std::move(content.places));
    else
      fail_type(path + ".role", role, "user, assistant, system, developer");
  }

  void add_call(FieldReader& item, const std::string& path) {
    Json arguments;
    if (!reads_as_object(required_string(item, "arguments"), arguments))
      fail_field(path + ".arguments", "{}.arguments: expected the JSON text of an object", path);
    turn(path)["tool_calls"].push_back(
        {{"id", required_string(item, "call_id")},
         {"type", "function"},
         {"function",
          {{"name", required_string(item, "name")}, {"arguments", std::move(arguments)}}}});
  }

  // Templates know pictures in what a user says: those of an output follow it there.
  void add_output(FieldReader& item, const std::string& path) {
    finish();
    const Json* value = item.find("output");
    if (!value) fail_field(path + ".output", "{}.output: missing", path);
    const Content content = content_of(*value, path + ".output");
    Content text, pictures;
    text.value = pictures.value = Json::array();
    if (content.value.is_string()) text.value = content.value;
    for (size_t i = 0; i < content.places.size(); ++i) {
      Content& to = content.value[i]["type"] == "text" ? text : pictures;
      to.value.push_back(content.value[i]);
      to.places.push_back(content.places[i]);
    }
    chat_.add_message({{"role", "tool"},
                       {"tool_call_id", required_string(item, "call_id")},
                       {"content", text_of(text, path)}},
                      path);
    if (!pictures.places.empty())
      chat_.add_message({{"role", "user"}, {"content", std::move(pictures.value)}},
                        path,
                        std::move(pictures.places));
  }

  void add_reasoning(FieldReader& item, const std::string& path) {
    std::string thoughts = thoughts_in(item, "content");
    if (thoughts.empty()) thoughts = thoughts_in(item, "summary");
    finish();
    if (!thoughts.empty()) turn(path)["reasoning_content"] = std::move(thoughts);
  }

  TranslatedChat& chat_;
  Json turn_ = Json::object();  // of the assistant, not yet ended
  std::string turn_path_;
};

}  // namespace

void add_items(TranslatedChat& chat, const Json& items, const std::string& path) {
  ItemReader reader(chat);
  for (size_t i = 0; i < items.size(); ++i) reader.add(items[i], format("{}[{}]", path, i));
  reader.finish();
}

}  // namespace quern
