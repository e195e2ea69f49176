// SPDX-License-Identifier: Apache-2.0
#include "agent/action.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "api/parsers/dialect_parser.h"
#include "base/error.h"
#include "base/json.h"

namespace quern::agent {
namespace {

struct KindName {
  std::string_view name;
  ActionKind kind;
};

constexpr std::array<KindName, 15> kKindNames = {{
    {"Launch", ActionKind::launch},
    {"Tap", ActionKind::tap},
    {"Double Tap", ActionKind::double_tap},
    {"Long Press", ActionKind::long_press},
    {"Type", ActionKind::type},
    {"Type_Name", ActionKind::type},
    {"Swipe", ActionKind::swipe},
    {"Back", ActionKind::back},
    {"Home", ActionKind::home},
    {"Wait", ActionKind::wait},
    {"Take_over", ActionKind::take_over},
    {"Interact", ActionKind::interact},
    {"Note", ActionKind::note},
    {"Call_API", ActionKind::call_api},
    {"finish", ActionKind::finish},
}};

std::string without(std::string text, std::string_view tag) {
  for (size_t at; (at = text.find(tag)) != std::string::npos;) text.erase(at, tag.size());
  return text;
}

std::string thought_of(std::string_view text) {
  return std::string(trim(without(without(std::string(text), "<think>"), "</think>")));
}

// Where the action begins.
void split(const std::string& content, ReadAnswer& out) {
  constexpr std::string_view kBegin = "<answer>", kEnd = "</answer>";
  size_t at = content.find(kBegin);
  size_t begin = at + kBegin.size(), end = content.rfind(kEnd);
  if (at == std::string::npos) {
    at = content.find("finish(message=");
    if (at == std::string::npos) at = content.find("do(action=");
    if (at == std::string::npos) at = 0;
    begin = at;
  }
  if (end == std::string::npos || end < begin) end = content.size();
  out.thought = thought_of(std::string_view(content).substr(0, at));
  out.words = std::string(trim(std::string_view(content).substr(begin, end - begin)));
}

// The calls in a text, and what else it says.
std::vector<ActionCall> calls_in(const std::string& words) {
  const std::unique_ptr<const ToolDialect> dialect = make_autoglm();
  DialectParser::Options options;
  options.dialect = dialect.get();
  DialectParser parser(options);
  std::vector<ActionCall> out;
  const auto take = [&out](const AnswerDelta& delta) {
    for (const ToolCallDelta& call : delta.tool_calls) {
      const auto index = static_cast<size_t>(call.index);
      if (out.size() <= index) out.resize(index + 1);
      out[index].name += call.name;
      out[index].arguments += call.arguments;
    }
  };
  take(parser.push(words));
  take(parser.finish());
  return out;
}

std::string text_at(const Json& arguments, const char* key) {
  const auto it = arguments.find(key);
  if (it == arguments.end() || it->is_null()) return {};
  return it->is_string() ? it->get<std::string>() : json_text(*it);
}

// 1000 is taken for 999, which models write for the edge.
Place place_at(const Json& arguments, const char* key) {
  const auto it = arguments.find(key);
  const bool is_pair = it != arguments.end() && it->is_array() && it->size() == 2 &&
                       it->at(0).is_number() && it->at(1).is_number();
  if (!is_pair) fail(ErrorCode::invalid_argument, "{} is not [x, y]", key);
  const double x = it->at(0).get<double>(), y = it->at(1).get<double>();
  if (!(x >= 0 && x <= 1000 && y >= 0 && y <= 1000))
    fail(ErrorCode::invalid_argument, "{} lies outside of 0 to 999", key);
  return {.x = std::min(static_cast<int>(x), 999), .y = std::min(static_cast<int>(y), 999)};
}

// "2 seconds", "2", 2.5: at most a minute; a second where it is no number.
double seconds_of(const std::string& text) {
  constexpr double kMostS = 60;
  char* end = nullptr;
  const double seconds = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || !std::isfinite(seconds) || seconds < 0) return 1;
  return std::min(seconds, kMostS);
}

ActionKind kind_of(std::string_view name) {
  for (const KindName& row : kKindNames)
    if (row.name == name && row.kind != ActionKind::finish) return row.kind;
  fail(ErrorCode::invalid_argument, "there is no action {:.40}", name);
}

std::string required(const Json& arguments, const char* key) {
  if (!arguments.contains(key)) fail(ErrorCode::invalid_argument, "{} is missing", key);
  return text_at(arguments, key);
}

Action action_of(const ActionCall& call) {
  const Json arguments = parse_json(call.arguments, "the action");
  if (!arguments.is_object()) fail(ErrorCode::invalid_argument, "the action has no arguments");
  Action out;
  if (call.name == "finish") {
    out.text = text_at(arguments, "message");
    return out;
  }
  out.kind = kind_of(text_at(arguments, "action"));
  out.text = text_at(arguments, out.kind == ActionKind::call_api ? "instruction" : "message");
  switch (out.kind) {
    case ActionKind::tap:
    case ActionKind::double_tap:
    case ActionKind::long_press:
      out.at = place_at(arguments, "element");
      out.asks = arguments.contains("message");
      break;
    case ActionKind::swipe:
      out.at = place_at(arguments, "start");
      out.to = place_at(arguments, "end");
      break;
    case ActionKind::launch:
      out.app = required(arguments, "app");
      break;
    case ActionKind::type:
      out.text = required(arguments, "text");
      break;
    case ActionKind::wait:
      out.wait_s = seconds_of(text_at(arguments, "duration"));
      break;
    default:
      break;
  }
  return out;
}

// A call in the model's own language: what stays in the conversation.
std::string words_of(const ActionCall& call) {
  std::string out = call.name + "(";
  const Json arguments = parse_json(call.arguments, "the action");
  if (arguments.is_object())
    for (const auto& [key, value] : arguments.items())
      out += (out.ends_with('(') ? "" : ", ") + key + "=" + json_text(value);
  return out + ")";
}

}  // namespace

std::string_view name_of(ActionKind kind) {
  for (const KindName& row : kKindNames)
    if (row.kind == kind) return row.name;
  return "finish";
}

ReadAnswer read_answer(const ModelAnswer& answer) {
  ReadAnswer out;
  std::vector<ActionCall> calls = answer.calls;
  if (calls.empty()) {
    split(answer.content, out);
    calls = calls_in(out.words);
  } else {
    out.thought = thought_of(answer.content);
    for (const ActionCall& call : calls) out.words += call.name + call.arguments;
  }
  if (out.thought.empty()) out.thought = thought_of(answer.reasoning);
  if (calls.size() != 1) {
    out.why_not = calls.empty() ? "the answer holds no action"
                                : format("the answer holds {} actions, not one", calls.size());
    return out;
  }
  try {
    out.action = action_of(calls.front());
    if (!answer.calls.empty()) out.words = words_of(calls.front());
  } catch (const Error& error) {  // a wrong answer is told to the model, which may try again
    out.why_not = error.what();
  }
  return out;
}

Place pixels_of(Place place, long long width, long long height) {
  const auto scaled = [](int part, long long whole) {
    return static_cast<int>(part / 1000.0 * static_cast<double>(whole));
  };
  return {.x = scaled(place.x, width), .y = scaled(place.y, height)};
}

}  // namespace quern::agent
