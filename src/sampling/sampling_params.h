// SPDX-License-Identifier: Apache-2.0
// SamplingParams: how one token is chosen. The fields and meanings of vLLM's.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "sampling/repetition_aware.h"

namespace quern {

class Grammar;       // sampling/grammar/grammar.h
struct SpeechRules;  // sampling/speech_rules.h

struct SamplingParams {
  double temperature = 1.0;  // 0: arg-max
  double top_p = 1.0;
  int top_k = 0;  // 0 or -1: all
  double min_p = 0.0;
  double repetition_penalty = 1.0;
  double presence_penalty = 0.0;
  double frequency_penalty = 0.0;
  // Speech is drawn by this rule, in place of temperature, top_p, top_k and min_p.
  std::optional<RepetitionAware> repetition_aware = {};
  uint64_t seed = 0;  // random numbers depend on (seed, choice, position) alone

  int max_tokens = 16;  // 0: nothing is drawn; for the sake of prompt_logprobs
  int min_tokens = 0;
  bool ignore_eos = false;
  std::vector<int32_t> stop_token_ids;  // the model's end-of-sequence ids are added by the caller
  std::vector<std::pair<int32_t, float>> logit_bias;
  std::vector<int32_t> allowed_token_ids;       // empty: all
  std::vector<std::vector<int32_t>> bad_words;  // token sequences that may not appear
  int logprobs = -1;                            // -1: none; n: the chosen token's and the n best
  int prompt_logprobs = -1;                     // the same of every prompt token but the first
  std::shared_ptr<const Grammar> grammar;       // what the output must be; null: anything
  std::shared_ptr<const SpeechRules>
      speech;  // it is the transcript of a recording; null: it is not

  // Throws invalid_argument naming the field and its bounds.
  void validate(int64_t vocab_size) const;
};

}  // namespace quern
