// SPDX-License-Identifier: Apache-2.0
#include "eval/request_body.h"

#include <nlohmann/json.hpp>

namespace quern::eval {

Json request_body(const Task& task, const TaskItem& item) {
  Json body = {{"temperature", 0}, {"max_tokens", item.max_tokens}};
  if (!item.stop.empty()) body["stop"] = item.stop;
  if (item.messages)
    body["messages"] = messages_of(task, item);
  else
    body["prompt"] = item.prompt;
  return body;
}

}  // namespace quern::eval
