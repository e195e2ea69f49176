// SPDX-License-Identifier: Apache-2.0
// Sampler: a row of logits → a token and log-probabilities, for one sequence.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "sampling/candidates.h"
#include "sampling/logit_processor.h"
#include "sampling/sampling_params.h"
#include "sampling/token_logprob.h"

namespace quern {

struct SampledToken {
  int32_t token = -1;
  std::vector<TokenLogprob> logprobs;  // the chosen token first, then the best ones, if asked for
};

class Sampler {
 public:
  // `params` and `hook` must outlive the sampler. Random numbers depend on (params.seed, choice,
  // output position) alone.
  Sampler(const SamplingParams& params, int choice, const LogitHook& hook);

  // logits [V], edited. Throws NumericError if they are not numbers, invalid_argument if every
  // token is banned.
  SampledToken next(std::span<float> logits, const History& history);

 private:
  const SamplingParams& params_;
  int choice_;
  std::vector<std::unique_ptr<LogitProcessor>> processors_;
  CandidateFilter filter_;
};

// The probabilities a token is drawn with, [V]: the request's whole chain, then temperature, top-k,
// top-p, min-p, or the rule for speech. Throws as Sampler::next.
std::vector<float> sampled_distribution(std::span<const float> logits,
                                        const SamplingParams& params,
                                        const History& history);

}  // namespace quern
