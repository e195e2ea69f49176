// SPDX-License-Identifier: Apache-2.0
#include "sampling/sampler.h"

#include "base/random.h"
#include "sampling/repetition_aware.h"

namespace quern {

Sampler::Sampler(const SamplingParams& params, int choice, const LogitHook& hook)
    : params_(params), choice_(choice), processors_(make_logit_processors(params, hook)) {}

SampledToken Sampler::next(std::span<float> logits, const History& history) {
  const bool wants_logprobs = params_.logprobs >= 0;
  std::vector<float> raw;
  if (!processors_.empty()) check_numbers(logits);  // they may hide what is none
  if (wants_logprobs && !processors_.empty()) raw.assign(logits.begin(), logits.end());
  for (const auto& processor : processors_) processor->apply(logits, history);
  SampledToken result;
  const auto random = [&](uint64_t seed) {
    return uniform(seed, static_cast<uint64_t>(choice_), history.output().size());
  };
  if (is_greedy(params_))
    result.token = arg_max(logits);
  else if (params_.repetition_aware)
    result.token = draw_repetition_aware(logits,
                                         history.output(),
                                         *params_.repetition_aware,
                                         random(params_.seed),
                                         random(mix_bits(params_.seed)));
  else
    result.token = filter_.draw(logits, params_, random(params_.seed));
  if (wants_logprobs)
    result.logprobs = raw_logprobs(
        raw.empty() ? std::span<const float>(logits) : raw, result.token, params_.logprobs);
  return result;
}

std::vector<float> sampled_distribution(std::span<const float> logits,
                                        const SamplingParams& params,
                                        const History& history) {
  std::vector<float> row(logits.begin(), logits.end());
  for (const auto& processor : make_logit_processors(params, {})) processor->apply(row, history);
  std::vector<float> probabilities(row.size(), 0.0f);
  if (is_greedy(params)) {
    probabilities[static_cast<size_t>(arg_max(row))] = 1;
    return probabilities;
  }
  if (params.repetition_aware)
    return repetition_aware_distribution(row, history.output(), *params.repetition_aware);
  CandidateFilter filter;
  const auto candidates = filter(row, params);
  const double total = total_weight(candidates);
  for (const Candidate& c : candidates)
    probabilities[static_cast<size_t>(c.token)] = static_cast<float>(c.weight / total);
  return probabilities;
}

}  // namespace quern
