// SPDX-License-Identifier: Apache-2.0
// Prompts that a model was trained to take word by word, by the names of their tasks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quern {

struct TaskPreset {
  std::string_view name;    // "ocr"
  std::string_view prompt;  // "{}" stands for what the user adds
  std::string_view what;    // one line for --help

  bool takes_text() const { return prompt.find("{}") != std::string_view::npos; }
};

const std::vector<TaskPreset>& task_presets();
std::vector<std::string> task_preset_names();
// The user's message of a task. `text` is what the user adds; for "fields" names, with commas
// between them. Throws invalid_argument for an unknown name, a text that the task does not take, or
// none where it needs one.
std::string task_prompt(std::string_view name, std::string_view text);

}  // namespace quern
