// SPDX-License-Identifier: Apache-2.0
// ScoredPrompt: a prompt with the model's log-probabilities of its tokens, and how answers show it.
#pragma once

#include <memory>
#include <vector>

#include "base/json.h"
#include "prompt/prompt.h"
#include "sampling/token_logprob.h"
#include "text/tokenizer/tokenizer.h"

namespace quern {

struct TokenScores;
struct ScoredToken;

// Kept as ids and numbers; texts are made where they are shown.
struct ScoredPrompt {
  std::shared_ptr<const Prompt> prompt;
  std::vector<PromptLogprob> logprobs;  // of its tokens from the second on
  const Tokenizer* tokenizer = nullptr;
};

// vLLM's prompt_logprobs: null for the first token, then an object per token: id → {logprob, rank,
// decoded_token} of the token itself and at most `count` of the likeliest.
Json prompt_logprobs_json(const ScoredPrompt& scored, int count);

// Each token of the prompt as logprobs of an answer show it; the first has no log-probability
// (chosen.logprob is not a number), and `top` of the others has at most `count` entries.
std::vector<TokenScores> echoed_scores(const ScoredPrompt& scored, int count);

ScoredToken scored_token(const Tokenizer& tokenizer, const TokenLogprob& logprob);

}  // namespace quern
