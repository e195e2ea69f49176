// SPDX-License-Identifier: Apache-2.0
#include "sampling/repetition_aware.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace quern {
namespace {

// Relative to the likeliest token's, in double precision: the border of the nucleus is a sum.
std::vector<double> weights_of(std::span<const float> logits) {
  const double highest = logits[static_cast<size_t>(arg_max(logits))];
  std::vector<double> out;
  out.reserve(logits.size());
  for (const float logit : logits) out.push_back(std::exp(logit - highest));
  return out;
}

double sum_of(std::span<const double> weights) {
  double sum = 0;
  for (const double weight : weights) sum += weight;
  return sum;
}

std::vector<Candidate> nucleus_of(std::span<const double> weights, const RepetitionAware& rule) {
  std::vector<int32_t> order(weights.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  const auto weight = [&](int32_t token) { return weights[static_cast<size_t>(token)]; };
  const auto most = order.begin() + std::min<ptrdiff_t>(rule.top_k, std::ssize(order));
  std::partial_sort(order.begin(), most, order.end(), [&](int32_t a, int32_t b) {
    return weight(a) != weight(b) ? weight(a) > weight(b) : a < b;
  });
  const double limit = rule.top_p * sum_of(weights);
  std::vector<Candidate> out;
  double sum = 0;
  for (auto token = order.begin(); token != most && sum < limit && weight(*token) > 0; ++token) {
    out.push_back({*token, static_cast<float>(weight(*token))});
    sum += weight(*token);
  }
  return out;
}

// The token at which the running sum passes `target`; the last one with a weight, should rounding
// leave the target beyond it.
template <typename Weight>
size_t pick(size_t count, double target, Weight weight) {
  size_t last = 0;
  for (size_t i = 0; i < count; ++i) {
    if (weight(i) <= 0) continue;
    last = i;
    target -= weight(i);
    if (target < 0) break;
  }
  return last;
}

}  // namespace

void RepetitionAware::validate() const {
  if (!(top_p > 0 && top_p <= 1))
    fail(ErrorCode::invalid_argument, "top_p: expected more than 0 and at most 1, got {}", top_p);
  if (top_k < 1) fail(ErrorCode::invalid_argument, "top_k: expected at least 1, got {}", top_k);
  if (window < 0 || most_repeats < 1)
    fail(ErrorCode::invalid_argument,
         "repetition-aware sampling: expected a window of 0 tokens or more and 1 repeat or more, "
         "got {} and {}",
         window,
         most_repeats);
}

std::vector<Candidate> nucleus(std::span<const float> logits, const RepetitionAware& rule) {
  return nucleus_of(weights_of(logits), rule);
}

bool is_repeated(int32_t token, std::span<const int32_t> said, const RepetitionAware& rule) {
  const auto recent = said.last(std::min(said.size(), static_cast<size_t>(rule.window)));
  return std::ranges::count(recent, token) >= rule.most_repeats;
}

int32_t draw_repetition_aware(std::span<const float> logits,
                              std::span<const int32_t> said,
                              const RepetitionAware& rule,
                              double first,
                              double second) {
  const std::vector<double> weights = weights_of(logits);
  const std::vector<Candidate> candidates = nucleus_of(weights, rule);
  const size_t chosen = pick(candidates.size(), first * total_weight(candidates), [&](size_t i) {
    return static_cast<double>(candidates[i].weight);
  });
  const int32_t token = candidates[chosen].token;
  if (!is_repeated(token, said, rule)) return token;
  return static_cast<int32_t>(
      pick(weights.size(), second * sum_of(weights), [&](size_t i) { return weights[i]; }));
}

std::vector<float> repetition_aware_distribution(std::span<const float> logits,
                                                 std::span<const int32_t> said,
                                                 const RepetitionAware& rule) {
  const std::vector<double> weights = weights_of(logits);
  const std::vector<Candidate> candidates = nucleus_of(weights, rule);
  const double total = total_weight(candidates), all = sum_of(weights);
  std::vector<double> sums(weights.size(), 0);
  double again = 0;
  for (const Candidate& c : candidates) {
    if (is_repeated(c.token, said, rule))
      again += c.weight / total;
    else
      sums[static_cast<size_t>(c.token)] = c.weight / total;
  }
  for (size_t i = 0; i < weights.size(); ++i) sums[i] += again * weights[i] / all;
  return {sums.begin(), sums.end()};
}

}  // namespace quern
