// SPDX-License-Identifier: Apache-2.0
// A question as a request of the OpenAI API.
#pragma once

#include "base/json.h"
#include "eval/task_file.h"

namespace quern::eval {

// Of /v1/chat/completions where the item has messages, else of /v1/completions; greedy, with the
// item's limits. For an item whose answer is generated.
Json request_body(const Task& task, const TaskItem& item);

}  // namespace quern::eval
