// SPDX-License-Identifier: Apache-2.0
// The form of the messages follows Open-AutoGLM's client (phone_agent/agent.py, model/client.py):
// date first, picture in front of the text, "** Screen Info **", <think> and <answer>.
#include "agent/conversation.h"

#include <array>
#include <nlohmann/json.hpp>
#include <span>

#include "agent/prompts.h"
#include "api/pooling_format.h"
#include "base/error.h"

namespace quern::agent {
namespace {

std::string day_text(std::string_view language, const std::tm& day) {
  constexpr std::array<std::string_view, 7> kChinese = {
      "星期日", "星期一", "星期二", "星期三", "星期四", "星期五", "星期六"};
  constexpr std::array<std::string_view, 7> kEnglish = {
      "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
  const auto weekday = static_cast<size_t>(day.tm_wday) % 7;
  const int year = day.tm_year + 1900, month = day.tm_mon + 1;
  if (language == "zh")
    return format("{}年{:02}月{:02}日 {}", year, month, day.tm_mday, kChinese[weekday]);
  return format("{}-{:02}-{:02}, {}", year, month, day.tm_mday, kEnglish[weekday]);
}

Json text_part(const std::string& text) {
  return {{"type", "text"}, {"text", text}};
}

Json picture_part(const std::string& png) {
  const std::string data = base64_of(std::as_bytes(std::span(png)));
  return {{"type", "image_url"}, {"image_url", {{"url", "data:image/png;base64," + data}}}};
}

}  // namespace

std::string with_date(std::string text, std::string_view language, const std::tm& day) {
  constexpr std::string_view kMark = "{date}";
  const size_t at = text.find(kMark);
  if (at != std::string::npos) text.replace(at, kMark.size(), day_text(language, day));
  return text;
}

std::string system_prompt(std::string_view language, const std::tm& day) {
  if (language == "zh") return with_date(std::string(kChinesePrompt), language, day);
  if (language == "en") return with_date(std::string(kEnglishPrompt), language, day);
  fail(ErrorCode::invalid_argument, "prompts are written in zh and en, not in {}", language);
}

std::string screen_info(const std::string& app, const ExtraInfo& extra) {
  std::string out = "{\"current_app\": " + json_text(app);
  for (const auto& [key, value] : extra) out += ", " + json_text(key) + ": " + json_text(value);
  return out + "}";
}

Conversation::Conversation(std::string system, std::string goal, size_t most_turns)
    : system_(std::move(system)), goal_(std::move(goal)), most_turns_(most_turns) {}

void Conversation::show(std::string_view png, const std::string& app, const ExtraInfo& extra) {
  const std::string begin = turns_.empty() ? goal_ : "** Screen Info **";
  turns_.push_back({.text = begin + "\n\n" + screen_info(app, extra), .answer = {}});
  png_ = png;
  // The first turn, which has the goal, stays.
  if (most_turns_ > 0 && turns_.size() > most_turns_ + 2) turns_.erase(turns_.begin() + 1);
}

void Conversation::answered(const std::string& thought, const std::string& words) {
  QUERN_CHECK(!turns_.empty(), "an answer to nothing");
  turns_.back().answer = "<think>" + thought + "</think><answer>" + words + "</answer>";
}

Json Conversation::request(const std::string& model, const SamplingOfPhone& sampling) const {
  Json messages = Json::array({{{"role", "system"}, {"content", system_}}});
  for (const Turn& turn : turns_) {
    Json parts = Json::array();
    if (&turn == &turns_.back()) parts.push_back(picture_part(png_));
    parts.push_back(text_part(turn.text));
    messages.push_back({{"role", "user"}, {"content", std::move(parts)}});
    if (&turn != &turns_.back())
      messages.push_back({{"role", "assistant"}, {"content", turn.answer}});
  }
  return {{"model", model},
          {"messages", std::move(messages)},
          {"max_tokens", sampling.max_tokens},
          {"temperature", sampling.temperature},
          {"top_p", sampling.top_p},
          {"frequency_penalty", sampling.frequency_penalty},
          {"stream", false}};
}

}  // namespace quern::agent
