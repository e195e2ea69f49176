// SPDX-License-Identifier: Apache-2.0
// A file of questions, one JSON object a line: multiple choice, or an exact answer. docs/eval.md
// describes the form.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"

namespace quern::eval {

// What a task may hold: files come from outside.
constexpr size_t kMaxTaskFiles = 64, kMaxItems = 100'000, kMaxChoices = 64, kMaxAnswers = 64,
                 kMaxStops = 16, kMaxStopBytes = 1024, kMaxAnswerBytes = 64 << 10;
constexpr int64_t kMaxTaskBytes = int64_t{1} << 30;
constexpr size_t kMaxPictureBytes = size_t{32} << 20;
constexpr int kMaxAnswerTokens = 65'536, kAnswerTokens = 64;

enum class AnswerMatch : uint8_t { exact, prefix, regex };
std::string_view name_of(AnswerMatch match);

struct TaskItem {
  int64_t line = 0;  // in the file, from 1
  std::string id;    // empty: none
  // A text, or messages in OpenAI's shape, whose pictures may be paths beside the file.
  std::string prompt;
  std::shared_ptr<const Json> messages;  // null: the prompt is the text

  // Multiple choice; empty: an answer is generated.
  std::vector<std::string> choices;
  size_t right_choice = 0;

  // Of a generated answer.
  std::vector<std::string> answers;  // any of them is right; of regex: the expression alone
  AnswerMatch match = AnswerMatch::exact;
  bool ignores_case = false;
  int max_tokens = kAnswerTokens;
  std::vector<std::string> stop;
};

struct Task {
  std::string name;  // of the file, without folder and ending
  std::string path;
  bool is_choice = false;  // all items are multiple choice; else none is
  std::vector<TaskItem> items;

  // "tasks/x.jsonl: line 3": how messages call an item.
  std::string where(const TaskItem& item) const;
};

// Reads and checks everything: fields, answers, expressions, that pictures are there. Throws
// not_found; invalid_argument naming file, line and field.
Task read_task(const std::string& path);
// Several; files of one name keep their paths as names.
std::vector<Task> read_tasks(const std::vector<std::string>& paths);

// The item's messages with its pictures as data URLs. Throws what reading a file throws.
Json messages_of(const Task& task, const TaskItem& item);

}  // namespace quern::eval
