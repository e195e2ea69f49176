// SPDX-License-Identifier: Apache-2.0
// Conversation: what a model of AutoGLM-Phone's family is shown, in the form it was trained on.
#pragma once

#include <cstddef>
#include <ctime>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace quern::agent {

// "zh" is what AutoGLM-Phone-9B was trained with, "en" the Multilingual one. Throws
// invalid_argument for another.
std::string system_prompt(std::string_view language, const std::tm& day);
// A prompt from a file: "{date}" becomes the day in that language.
std::string with_date(std::string text, std::string_view language, const std::tm& day);

// {"current_app": "Settings"}, as Python's json.dumps prints it; with what else is to be said.
using ExtraInfo = std::vector<std::pair<std::string, std::string>>;
std::string screen_info(const std::string& app, const ExtraInfo& extra);

struct SamplingOfPhone {  // the published client's
  int max_tokens = 3000;
  double temperature = 0, top_p = 0.85, frequency_penalty = 0.2;
};

// The system message, the goal with the first screen, then answers and screens in turn. Only the
// newest screen is a picture; of earlier ones the text stays.
class Conversation {
 public:
  // `most_turns`: so many answers are kept, and always the goal; 0: all.
  Conversation(std::string system, std::string goal, size_t most_turns);

  void show(std::string_view png, const std::string& app, const ExtraInfo& extra);
  void answered(const std::string& thought, const std::string& words);

  // The body of a chat completion.
  Json request(const std::string& model, const SamplingOfPhone& sampling) const;

 private:
  struct Turn {
    std::string text, answer;
  };
  std::string system_, goal_, png_;
  size_t most_turns_;
  std::vector<Turn> turns_;
};

}  // namespace quern::agent
