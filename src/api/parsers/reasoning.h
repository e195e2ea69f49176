// SPDX-License-Identifier: Apache-2.0
// Families of models that think between <think> and </think> before they answer.
#pragma once

#include <optional>
#include <string_view>

namespace quern {

// How a prompt leaves the thinking of the answer behind it.
enum class PromptThinking : uint8_t {
  unsaid,  // the model decides
  open,    // the prompt ends inside of it
  closed,  // the prompt ends behind it
};
PromptThinking thinking_at_end(std::string_view prompt);

struct ReasoningFamily {
  // Thinks from its first word on where the prompt does not say otherwise, with or without <think>.
  bool begins_inside = false;
  // The answer behind the thoughts stands between <answer> and </answer>, which are not shown.
  bool has_answer_tags = false;
};

inline constexpr std::string_view kThinkBegin = "<think>", kThinkEnd = "</think>";
inline constexpr std::string_view kAnswerBegin = "<answer>", kAnswerEnd = "</answer>";

}  // namespace quern
