// SPDX-License-Identifier: Apache-2.0
// What the answers to tasks come to: a row for each task and metric, with intervals.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "eval/task_run.h"

namespace quern::eval {

// Rows {"task", "file", "metric", "questions", "right", "score", "interval"}: acc and acc_norm of
// multiple choice, exact_match of answers. With the results of a reference also "reference_score",
// "reference_interval", "difference", "difference_interval", "p_value", "alone" and
// "reference_alone" (questions that only the one, or only the other, had right).
// `results` and `reference` (which may be empty) hold one list for each task.
Json score_rows(const std::vector<Task>& tasks,
                const std::vector<TaskResults>& results,
                const std::vector<TaskResults>& reference);

// The rows as lines.
std::string score_text(const Json& rows);

// {"task", "line", "id", "right", "right_norm", "logprobs"} or {…, "answer"} of each question.
Json answer_rows(const std::vector<Task>& tasks, const std::vector<TaskResults>& results);

// What answer_rows says of each question's rightness. Throws data_loss where that does not fit the
// tasks.
std::vector<TaskResults> results_of(const std::vector<Task>& tasks, const Json& answer_rows);

}  // namespace quern::eval
