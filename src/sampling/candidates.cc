// SPDX-License-Identifier: Apache-2.0
#include "sampling/candidates.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/error.h"
#include "sampling/exponential.h"

namespace quern {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool is_likelier(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.token < b.token;
}

// The k-th largest value, 1 <= k <= values.size(), by a heap of the k largest so far: most values fail its first comparison.
float kth_largest(std::span<const float> values, size_t k, std::vector<float>& heap) {
  heap.assign(values.begin(), values.begin() + static_cast<ptrdiff_t>(k));
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  for (const float value : values.subspan(k)) {
    if (value <= heap.front()) continue;
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    heap.back() = value;
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  }
  return heap.front();
}

// log of the sum of exponentials, relative to `highest`.
double log_sum(std::span<const float> logits, float highest) {
  constexpr size_t kChunk = 512;  // float sums this short lose nothing that shows
  double sum = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kChunk) {
    float lanes[8] = {};
    const auto chunk = logits.subspan(begin, std::min(kChunk, logits.size() - begin));
    for (size_t i = 0; i < chunk.size(); ++i) lanes[i % 8] += exp_of_nonpositive(chunk[i] - highest);
    for (const float lane : lanes) sum += lane;
  }
  return std::log(sum);
}

}  // namespace

int32_t arg_max(std::span<const float> logits) {
  float best = -kInfinity;
  size_t where = 0, not_numbers = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const float value = logits[i];
    not_numbers += static_cast<size_t>(std::isnan(value));
    if (value > best) {
      best = value;
      where = i;
    }
  }
  if (not_numbers > 0 || best == kInfinity)
    fail(ErrorCode::internal, "logits: {} of {} are not a number, the largest is {}: weights or activations overflowed",
         not_numbers, logits.size(), best);
  if (best == -kInfinity)
    fail(ErrorCode::invalid_argument, "sampling: no token is left to choose from; relax allowed_token_ids, bad_words or min_tokens");
  return static_cast<int32_t>(where);
}

std::span<const Candidate> CandidateFilter::operator()(std::span<const float> logits, const SamplingParams& params) {
  const auto best = static_cast<size_t>(arg_max(logits));
  const auto temperature = static_cast<float>(params.temperature);
  scaled_.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) scaled_[i] = logits[i] / temperature;
  const size_t k = params.top_k > 0 ? static_cast<size_t>(params.top_k) : logits.size();
  collect(k < logits.size() ? kth_largest(scaled_, k, heap_) : -kInfinity, scaled_[best]);
  if (params.top_p < 1) cut_top_p(params.top_p);
  if (params.min_p > 0) cut_min_p(static_cast<float>(params.min_p));
  return kept_;
}

void CandidateFilter::collect(float lowest, float highest) {
  kept_.clear();
  for (size_t i = 0; i < scaled_.size(); ++i)
    if (scaled_[i] >= lowest) kept_.push_back({static_cast<int32_t>(i), scaled_[i] - highest});
  for (Candidate& c : kept_) c.weight = exp_of_nonpositive(c.weight);
}

// Sorts only as far down as the sum asks: most rows are decided among the few likeliest tokens.
void CandidateFilter::cut_top_p(double top_p) {
  const double limit = top_p * total_weight(kept_);
  double sum = 0;
  auto sorted = kept_.begin();
  for (float least = 1.0f / 64; sorted != kept_.end(); least = least > 1e-30f ? least / 64 : 0) {
    const auto end = std::partition(sorted, kept_.end(), [least](const Candidate& c) { return c.weight >= least; });
    std::sort(sorted, end, is_likelier);
    for (; sorted != end; ++sorted) {
      if (sum >= limit) return kept_.erase(sorted, kept_.end()), void();
      sum += sorted->weight;
    }
  }
}

void CandidateFilter::cut_min_p(float min_p) {
  std::erase_if(kept_, [min_p](const Candidate& c) { return c.weight < min_p; });
}

double total_weight(std::span<const Candidate> candidates) {
  double sum = 0;
  for (const Candidate& c : candidates) sum += c.weight;
  return sum;
}

std::vector<TokenLogprob> raw_logprobs(std::span<const float> logits, int32_t token, int count) {
  const float highest = logits[static_cast<size_t>(arg_max(logits))];
  const double normalizer = highest + log_sum(logits, highest);
  const auto logprob = [&](int32_t t) {
    return TokenLogprob{t, static_cast<float>(logits[static_cast<size_t>(t)] - normalizer)};
  };
  std::vector<TokenLogprob> result = {logprob(token)};
  const size_t k = std::min(static_cast<size_t>(count), logits.size());
  if (k == 0) return result;
  std::vector<float> heap;
  const float lowest = kth_largest(logits, k, heap);
  std::vector<Candidate> best;
  for (size_t i = 0; i < logits.size(); ++i)
    if (logits[i] >= lowest) best.push_back({static_cast<int32_t>(i), logits[i]});
  std::sort(best.begin(), best.end(), is_likelier);
  best.resize(k);
  for (const Candidate& c : best) result.push_back(logprob(c.token));
  return result;
}

}  // namespace quern
