// SPDX-License-Identifier: Apache-2.0
// AnswerFormat: how an API dialect shows answers, whole or in pieces. One class per dialect.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "api/api_error.h"
#include "api/generation.h"

namespace quern {

struct AnswerHeader {
  std::string id;       // "chatcmpl-…"
  int64_t created = 0;  // seconds since 1970
  std::string model;
};

// What of an answer is shown beside its text.
struct AnswerParts {
  bool logprobs = false;
  bool token_ids = false;      // of prompt and answer
  bool tokens_as_ids = false;  // "token_id:17" in logprobs
  int choices_per_prompt = 1;
  std::vector<TokenIds> prompt_ids;  // per prompt, with token_ids
  std::vector<std::string> echo;     // per prompt: text in front of each answer; empty: none
};

class AnswerFormat {
 public:
  virtual ~AnswerFormat() = default;

  // The body of an answer that is not streamed.
  virtual std::string whole(std::span<const TextDelta> answers, const Usage& usage) const = 0;
  // Chunks of a stream, each one JSON text; empty: nothing to send. `usage` is null where chunks
  // carry none.
  virtual std::string opening(
      int index, const Usage* usage) const = 0;  // in front of the first delta of a choice
  virtual std::string chunk(int index, const TextDelta& delta, const Usage* usage) const = 0;
  virtual std::string closing(
      const Usage& usage) const = 0;  // stream_options.include_usage: usage and no choices
};

std::unique_ptr<AnswerFormat> chat_format(AnswerHeader header, AnswerParts parts);
std::unique_ptr<AnswerFormat> completion_format(AnswerHeader header, AnswerParts parts);

// "stop", "length", "abort", "error"; empty for none.
std::string_view name_of(FinishReason reason);
// Whether an answer failed or was cut off by the server, and that as an error.
bool has_failed(const TextDelta& answer);
ApiError failure_of(const TextDelta& answer);

}  // namespace quern
