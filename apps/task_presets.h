// SPDX-License-Identifier: Apache-2.0
// Prompts by the names of their tasks: those that a model was trained to take word by word, and one
// for statements in Lean 4.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

struct TaskPreset {
  enum class Adds : uint8_t { nothing, names, text };

  std::string_view name;    // "ocr"
  std::string_view prompt;  // "{}" stands for what the user adds
  std::string_view what;    // one line for --help
  Adds adds = Adds::nothing;
  std::string_view grammar = {};         // of api/grammar_presets.h; empty: answers are free
  bool has_empty_system_message = true;  // where the user gives none
};

const std::vector<TaskPreset>& task_presets();
std::vector<std::string> task_preset_names();
// Throws invalid_argument for an unknown name.
const TaskPreset& task_preset(std::string_view name);
// The user's message of a task. `text` is what the user adds; for "fields" names, with commas
// between them. Throws invalid_argument for an unknown name, a text that the task does not take, or
// none where it needs one.
std::string task_prompt(std::string_view name, std::string_view text);

}  // namespace quern
