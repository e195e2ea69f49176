// SPDX-License-Identifier: Apache-2.0
#include "bench/event_reader.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"

namespace quern::bench {
namespace {

const Json* member(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

int64_t count_of(const Json& usage, const char* key) {
  const Json* value = member(usage, key);
  return value && value->is_number_integer() ? value->get<int64_t>() : -1;
}

bool is_text(const Json* value) {
  return value && value->is_string() && !value->get_ref<const std::string&>().empty();
}

// A completion's choice has "text", a chat's "delta" with "content".
bool carries_text(const Json& choice) {
  if (is_text(member(choice, "text"))) return true;
  const Json* delta = member(choice, "delta");
  return delta && is_text(member(*delta, "content"));
}

std::string message_of(const Json& body) {
  const Json* error = member(body, "error");
  const Json* message = error ? member(*error, "message") : member(body, "message");
  return message && message->is_string() ? message->get<std::string>() : body.dump();
}

}  // namespace

EventNews EventReader::read_line() {
  constexpr std::string_view kData = "data:";
  constexpr size_t kMostText = 500;
  std::string line = std::move(line_);
  line_.clear();
  if (line.ends_with('\r')) line.pop_back();
  if (!line.starts_with(kData)) {
    if (other_.size() < kMostText && !line.starts_with(':')) other_ += line.substr(0, kMostText);
    return {};
  }
  std::string_view data = std::string_view(line).substr(kData.size());
  while (data.starts_with(' ')) data.remove_prefix(1);
  if (data == "[DONE]") return {};
  const Json event = parse_json(data, "an event of the server");
  if (const Json* usage = member(event, "usage")) {
    prompt_tokens_ = count_of(*usage, "prompt_tokens");
    completion_tokens_ = count_of(*usage, "completion_tokens");
  }
  if (member(event, "error")) error_ = message_of(event);
  const Json* choices = member(event, "choices");
  if (!choices || !choices->is_array() || choices->empty()) return {};
  const Json& choice = choices->front();
  const bool ends = member(choice, "finish_reason") != nullptr;
  const bool has_text = carries_text(choice) || (ends && !had_text_);
  had_text_ |= has_text;
  return {.has_text = has_text, .has_choice = true};
}

std::string EventReader::error() const {
  if (!error_.empty()) return error_;
  const std::string text = other_ + line_;
  try {
    return text.empty() ? text : message_of(parse_json(text, "answer"));
  } catch (const Error&) {
    return text.substr(0, 500);
  }
}

}  // namespace quern::bench
