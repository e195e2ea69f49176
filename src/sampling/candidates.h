// SPDX-License-Identifier: Apache-2.0
// From a row of logits to the tokens that may be drawn and their weights.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "sampling/token_logprob.h"

namespace quern {

struct SamplingParams;  // sampling/sampling_params.h

struct Candidate {
  int32_t token = -1;
  float weight = 0;  // relative to the likeliest token's 1
};

// Below this temperature the likeliest token is taken.
bool is_greedy(const SamplingParams& params);

// The model's logits are no numbers: nobody's request is wrong, and only this one fails.
class NumericError : public Error {
 public:
  using Error::Error;
};

// A model's own row, before anything is banned. Throws NumericError where it has NaN or +inf, or
// nothing but -inf.
void check_numbers(std::span<const float> logits);
// The first of the largest logits. Throws NumericError for NaN or +inf, invalid_argument if every
// token is banned.
int32_t arg_max(std::span<const float> logits);

// Keeps its buffers from row to row.
class CandidateFilter {
 public:
  // Temperature, top-k, top-p, min-p in this order, with the reference's borders (transformers'
  // warpers): tokens equal to the k-th are all kept; a token stays while the likelier ones have
  // less than top_p in sum. Throws as arg_max. Valid until the next call.
  std::span<const Candidate> operator()(std::span<const float> logits,
                                        const SamplingParams& params);
  // One of them, for a random number u in [0, 1).
  int32_t draw(std::span<const float> logits, const SamplingParams& params, double u);

 private:
  void weigh(std::span<const float> logits, float temperature);
  int32_t draw_from_all(double u) const;
  void keep_top_k(std::span<const float> logits, float temperature, size_t k);
  void keep_range(float least, float below);
  void keep_top_p(double top_p);
  void cut_top_p(double top_p);

  std::vector<float> weights_;  // [V]
  std::vector<double> sums_;    // of runs of weights_
  std::vector<float> heap_;
  std::vector<Candidate> kept_;
};

double total_weight(std::span<const Candidate> candidates);

// The model's own distribution: `token` first, then the `count` likeliest (of equal ones the
// first). Throws as arg_max.
std::vector<TokenLogprob> raw_logprobs(std::span<const float> logits, int32_t token, int count);
// The same for a token that nobody drew, with its rank.
PromptLogprob prompt_logprob(std::span<const float> logits, int32_t token, int count);

}  // namespace quern
