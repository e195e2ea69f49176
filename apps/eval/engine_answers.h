// SPDX-License-Identifier: Apache-2.0
// Questions put to a loaded model, through its engine.
#pragma once

#include "api/service.h"
#include "eval/task_run.h"

namespace quern::eval {

// Choices are scored by the log-probabilities of their tokens behind the prompt: the first choice
// alone, then the others, which find the prompt in the prefix cache. Answers are generated
// greedily. Safe from several threads at once. Throws the Error of a request that failed.
ItemResult answer_by_engine(Service& service, const Task& task, const TaskItem& item);

// The choices of a question behind its prompt, as they are scored.
struct ScoredChoices {
  std::vector<std::shared_ptr<const Prompt>> prompts;  // one a choice
  int64_t from = 1;  // the first token in which any differs from the prompt alone
};
// Throws invalid_argument for a choice without tokens, and where not one token of the prompt stays
// the same in front of all choices.
ScoredChoices choices_of(const Service& service, const Task& task, const TaskItem& item);

}  // namespace quern::eval
