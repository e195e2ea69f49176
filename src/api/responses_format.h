// SPDX-License-Identifier: Apache-2.0
// Answers as /v1/responses shows them: a response object of items, or some twenty kinds of events.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "api/answer_format.h"
#include "base/json.h"

namespace quern {

struct ResponseSheet {
  AnswerHeader header;
  std::shared_ptr<const Json> shown;  // fields of the response object that repeat the request
  bool shows_logprobs = false;
  // Gets the response object once it is whole, and its items; empty: it is not kept.
  std::function<void(const std::string& body, const std::string& items)> keep;
};

std::unique_ptr<AnswerFormat> responses_format(ResponseSheet sheet);

}  // namespace quern
