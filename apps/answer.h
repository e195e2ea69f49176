// SPDX-License-Identifier: Apache-2.0
// One answer in the terminal: what `chat` and `run` do between a prompt and the next.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/service.h"
#include "base/function_ref.h"
#include "sampling/grammar/grammar.h"

namespace CLI {
class App;
}

namespace quern {

// The sampling flags of `chat` and `run`. What is not given comes from the model's
// generation_config.json.
struct AnswerOptions {
  SamplingFields sampling;
  int max_tokens = 0;  // 0: until the model ends or the context is full
  // What the answer is held to; thoughts in front of it are then read and not shown.
  std::optional<GrammarSpec> grammar;
};
void add_answer_options(CLI::App& command, AnswerOptions& options);

struct Timings {
  double encode_s = 0;   // towers
  double prefill_s = 0;  // from the submission to the first token, without encode_s
  double decode_s = 0;   // from the first token to the last
  int64_t prompt_tokens = 0, decoded_tokens = 0;  // decoded: after the first
  double tokens_per_s() const {
    return decode_s > 0 ? static_cast<double>(decoded_tokens) / decode_s : 0;
  }
};

struct Answer {
  std::string text;
  std::string content;  // the same without thoughts in front, where the model's family has some
  std::vector<int32_t> ids;
  FinishReason finish = FinishReason::none;
  Timings timings;
};

// Runs one prompt to its end; `on_text` sees each piece of text as it comes. SIGINT ends the answer
// (finish == cancelled). Throws what the engine says of a prompt that cannot run, and the Error of
// an answer that failed.
Answer answer(Service& service,
              std::shared_ptr<const Prompt> prompt,
              const AnswerOptions& options,
              FunctionRef<void(const std::string&)> on_text);

}  // namespace quern
