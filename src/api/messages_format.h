// SPDX-License-Identifier: Apache-2.0
// Answers as Anthropic's API shows them.
#pragma once

#include <memory>
#include <string>

#include "api/answer_format.h"

namespace quern {

std::unique_ptr<AnswerFormat> messages_format(AnswerHeader header);
// {"type": "error", "error": {"type", "message"}}.
std::string messages_error(const ApiError& error);
std::string count_tokens_response(int64_t input_tokens);

}  // namespace quern
