// SPDX-License-Identifier: Apache-2.0
// LogitProcessor: edits one row of logits from one sequence's history. The chain of a request holds
// only what it asks for.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "sampling/sampling_params.h"

namespace quern {

// The tokens of one sequence so far. Between two calls on the same chain it only grows.
struct History {
  std::span<const int32_t> tokens;  // prompt, then output
  size_t prompt_length = 0;
  std::span<const int32_t> output() const { return tokens.subspan(prompt_length); }
};

class LogitProcessor {
 public:
  virtual ~LogitProcessor() = default;
  virtual void apply(std::span<float> logits,
                     const History& history) = 0;  // logits [V]; a banned token is -inf
};

// Of a model, not of a request: sees every row first. May be empty.
using LogitHook = std::function<void(std::span<float> logits, std::span<const int32_t> history)>;

// In the order of vLLM 0.11's sampler: the model's hook, allowed ids, bad words, minimum length,
// bias, penalties; then the rules of speech, and the grammar, which throws invalid_argument where
// the others have banned all that it allows. `params` and `hook` must outlive the chain. Empty if
// nothing is asked for.
std::vector<std::unique_ptr<LogitProcessor>> make_logit_processors(const SamplingParams& params,
                                                                   const LogitHook& hook);

}  // namespace quern
