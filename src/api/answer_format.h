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
  int prompt_logprobs = -1;    // so many per token; -1: none
  int echo_logprobs = -1;      // the same, in front of the answer's logprobs
  bool token_ids = false;      // of prompt and answer
  bool tokens_as_ids = false;  // "token_id:17" in logprobs
  int choices_per_prompt = 1;
  std::vector<TokenIds> prompt_ids;  // per prompt, with token_ids
  std::vector<std::string> echo;     // per prompt: text in front of each answer; empty: none
  bool reasoning = false;            // a parser looks for it: its fields are shown
};

// One server-sent event.
struct ServerEvent {
  std::string name;  // empty: the event has data only
  std::string data;  // one line
};
using ServerEvents = std::vector<ServerEvent>;

// A format serves one answer, either whole or as a stream: it may remember what it has shown.
class AnswerFormat {
 public:
  virtual ~AnswerFormat() = default;

  // The body of an answer that is not streamed.
  virtual std::string whole(std::span<const TextDelta> answers, const Usage& usage) = 0;
  // What is not streamed and has failed.
  virtual std::string error_body(const ApiError& error) { return to_json(error); }

  // Events of a stream, appended to `out`, in this order: beginning, then for every choice opening
  // (in front of its first delta) and chunks, then closing or failure. `usage` is null where chunks
  // carry none.
  virtual void beginning(const Usage& /*usage*/, ServerEvents& /*out*/) {}
  virtual void opening(int index, const Usage* usage, ServerEvents& out) = 0;
  virtual void chunk(int index, const TextDelta& delta, const Usage* usage, ServerEvents& out) = 0;
  // `shows_usage`: stream_options.include_usage.
  virtual void closing(const Usage& usage, bool shows_usage, ServerEvents& out) = 0;
  virtual void failure(const ApiError& error, ServerEvents& out) = 0;
};

std::unique_ptr<AnswerFormat> chat_format(AnswerHeader header, AnswerParts parts);
std::unique_ptr<AnswerFormat> completion_format(AnswerHeader header, AnswerParts parts);

// "stop", "length", "abort", "error"; empty for none.
std::string_view name_of(FinishReason reason);
// Whether an answer failed or was cut off by the server, and that as an error.
bool has_failed(const TextDelta& answer);
ApiError failure_of(const TextDelta& answer);

}  // namespace quern
