// SPDX-License-Identifier: Apache-2.0
// What the tests of dialects share.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "api/answer_format.h"
#include "api/api_error.h"

namespace quern {

inline Json json(const std::string& text) {
  return parse_json(text, "test");
}

// The field that a request is refused for; empty if it is not.
template <typename Read>
std::string refused_field(Read&& read) {
  try {
    read();
  } catch (const RequestError& error) {
    return error.param();
  }
  return "";
}

// Deltas with all that an answer can have, in the order in which models write it.
inline std::vector<TextDelta> rich_answer() {
  std::vector<TextDelta> out(6);
  out[0].reasoning = "Let me ";
  out[1].reasoning = "think";
  out[1].text = "I will ";
  out[2].text = "look.";
  out[3].tool_calls = {{.index = 0, .id = "call_a", .name = "look", .arguments = "{\"x\""}};
  out[4].tool_calls = {{.index = 0, .id = "", .name = "", .arguments = ":1}"},
                       {.index = 1, .id = "call_b", .name = "see", .arguments = "{}"}};
  out[5].finish = FinishReason::stop;
  return out;
}

inline TextDelta joined(std::vector<TextDelta> deltas) {
  TextDelta out;
  for (TextDelta& delta : deltas) out.append(std::move(delta));
  return out;
}

inline ServerEvents streamed(AnswerFormat& format, const std::vector<TextDelta>& deltas) {
  ServerEvents out;
  format.beginning({.prompt_tokens = 7}, out);
  format.opening(0, nullptr, out);
  for (const TextDelta& delta : deltas) format.chunk(0, delta, nullptr, out);
  format.closing({.prompt_tokens = 7, .completion_tokens = 3, .cached_tokens = 2}, false, out);
  return out;
}

}  // namespace quern
