// SPDX-License-Identifier: Apache-2.0
// A task put to whoever answers: what was said to each question, and whether it was right.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "eval/task_file.h"

namespace quern::eval {

// What became of one question.
struct ItemResult {
  bool is_right = false;              // multiple choice: by the sum of log-probabilities
  bool is_right_norm = false;         // ... by that sum for each byte of the choice
  std::vector<double> logprobs = {};  // of each choice
  std::string answer = {};            // what was generated
};

// One result an item, in order.
using TaskResults = std::vector<ItemResult>;

// Answers one item; called from several threads at once.
using AnswerItem = std::function<ItemResult(const Task&, const TaskItem&)>;

// Puts all questions, `at_once` at a time; says on a terminal how far it is. The first exception
// ends it and is thrown, with the item's place in front if it is an Error.
TaskResults run_task(const Task& task, const AnswerItem& answer_item, int at_once);

// Fills what follows from the choices' log-probabilities. Of equal ones the first counts.
void judge_choices(const TaskItem& item, ItemResult& result);
// Fills what follows from the answer.
void judge_answer(const TaskItem& item, ItemResult& result);

}  // namespace quern::eval
