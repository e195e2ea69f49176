// SPDX-License-Identifier: Apache-2.0
// Families of models that think between two marks, mostly <think> and </think>, before they answer.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace quern {

inline constexpr std::string_view kThinkBegin = "<think>", kThinkEnd = "</think>";
inline constexpr std::string_view kAnswerBegin = "<answer>", kAnswerEnd = "</answer>";

struct ReasoningFamily {
  // Thinks from its first word on where the prompt does not say otherwise, with or without `begin`.
  bool begins_inside = false;
  // The answer behind the thoughts stands between <answer> and </answer>, which are not shown.
  bool has_answer_tags = false;
  std::string_view begin = kThinkBegin, end = kThinkEnd;
  // A constraint on the answer leaves the thoughts in front of it alone; the marks are single
  // tokens.
  bool thinks_before_constraint = false;
};

// How a prompt leaves the thinking of the answer behind it.
enum class PromptThinking : uint8_t {
  unsaid,  // the model decides
  open,    // the prompt ends inside of it
  closed,  // the prompt ends behind it
};
PromptThinking thinking_at_end(std::string_view prompt, const ReasoningFamily& family = {});

}  // namespace quern
