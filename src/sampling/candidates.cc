// SPDX-License-Identifier: Apache-2.0
#include "sampling/candidates.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "sampling/exponential.h"
#include "sampling/sampling_params.h"

namespace quern {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool is_likelier(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.token < b.token;
}

// The k-th largest value, 1 <= k <= values.size(). For a small k by a heap of the k largest so far:
// most values fail its first comparison.
float kth_largest(std::span<const float> values, size_t k, std::vector<float>& heap) {
  const bool is_small = k < 1024;
  heap.assign(values.begin(), is_small ? values.begin() + static_cast<ptrdiff_t>(k) : values.end());
  if (!is_small) {
    const auto kth = heap.begin() + static_cast<ptrdiff_t>(k) - 1;
    std::nth_element(heap.begin(), kth, heap.end(), std::greater<>());
    return *kth;
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  for (const float value : values.subspan(k)) {
    if (value <= heap.front()) continue;
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    heap.back() = value;
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  }
  return heap.front();
}

// Sums of runs this short lose nothing that shows in float32.
constexpr size_t kRun = 512;

double sum_of_run(std::span<const float> values) {
  float lanes[8] = {};
  size_t i = 0;
  for (; i + 8 <= values.size(); i += 8)
    for (size_t lane = 0; lane < 8; ++lane) lanes[lane] += values[i + lane];
  double sum = 0;
  for (const float lane : lanes) sum += lane;
  for (; i < values.size(); ++i) sum += values[i];
  return sum;
}

// log of the sum of exponentials, relative to `highest`.
double log_sum(std::span<const float> logits, float highest) {
  float weights[kRun];
  double sum = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kRun) {
    const size_t count = std::min(kRun, logits.size() - begin);
    for (size_t i = 0; i < count; ++i) weights[i] = exp_of_nonpositive(logits[begin + i] - highest);
    sum += sum_of_run({weights, count});
  }
  return std::log(sum);
}

size_t effective_k(const SamplingParams& params, size_t vocab) {
  return params.top_k > 0 ? std::min(static_cast<size_t>(params.top_k), vocab) : vocab;
}

}  // namespace

bool is_greedy(const SamplingParams& params) {
  return params.temperature < 1e-5;
}

void check_numbers(std::span<const float> logits) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  bool is_bad = false, has_finite = false;
  for (const float value : logits) {
    is_bad |= !(value <= kLargest);
    has_finite |= value >= -kLargest;
  }
  if (!is_bad && has_finite) return;
  const auto bad =
      std::count_if(logits.begin(), logits.end(), [](float value) { return !(value <= kLargest); });
  throw NumericError(
      ErrorCode::internal,
      format("logits: {} of {} are not a number or infinite{}: weights or activations overflowed",
             bad,
             logits.size(),
             has_finite ? "" : ", and none is finite"));
}

int32_t arg_max(std::span<const float> logits) {
  float best = -kInfinity;
  size_t where = 0;
  bool has_nan = false;
  for (size_t i = 0; i < logits.size(); ++i) {
    const float value = logits[i];
    has_nan |= std::isnan(value);
    if (value > best) {
      best = value;
      where = i;
    }
  }
  if (has_nan || best == kInfinity) check_numbers(logits);
  if (best == -kInfinity)
    fail(ErrorCode::invalid_argument,
         "sampling: no token is left to choose from; relax allowed_token_ids, bad_words or "
         "min_tokens");
  return static_cast<int32_t>(where);
}

std::span<const Candidate> CandidateFilter::operator()(std::span<const float> logits,
                                                       const SamplingParams& params) {
  const auto temperature = static_cast<float>(params.temperature);
  const auto least = static_cast<float>(params.min_p);
  kept_.clear();
  if (const size_t k = effective_k(params, logits.size()); k < logits.size()) {
    keep_top_k(logits, temperature, k);
    if (params.top_p < 1) cut_top_p(params.top_p);
  } else {
    weigh(logits, temperature);
    if (params.top_p < 1) {
      keep_top_p(params.top_p);
    } else {
      keep_range(least, 2);
    }
  }
  std::erase_if(kept_, [least](const Candidate& c) { return c.weight < least; });
  return kept_;
}

int32_t CandidateFilter::draw(std::span<const float> logits,
                              const SamplingParams& params,
                              double u) {
  if (params.top_p >= 1 && params.min_p <= 0 &&
      effective_k(params, logits.size()) == logits.size()) {
    weigh(logits, static_cast<float>(params.temperature));
    return draw_from_all(u);
  }
  const auto candidates = (*this)(logits, params);
  const double target = u * total_weight(candidates);
  double sum = 0;
  int32_t last = -1;
  for (const Candidate& c : candidates) {
    if (c.weight <= 0) continue;
    last = c.token;
    sum += c.weight;
    if (sum > target) break;
  }
  return last;
}

// Logits are divided and rounded first, as the reference does: at low temperatures the rounding
// shows.
void CandidateFilter::weigh(std::span<const float> logits, float temperature) {
  const float highest = logits[static_cast<size_t>(arg_max(logits))] / temperature;
  weights_.resize(logits.size());
  sums_.clear();
  for (size_t begin = 0; begin < logits.size(); begin += kRun) {
    const size_t count = std::min(kRun, logits.size() - begin);
    const float* from = logits.data() + begin;
    float* to = weights_.data() + begin;
    for (size_t i = 0; i < count; ++i) to[i] = exp_of_nonpositive(from[i] / temperature - highest);
    sums_.push_back(sum_of_run({to, count}));
  }
}

// Skips whole runs by their sums, then walks through one.
int32_t CandidateFilter::draw_from_all(double u) const {
  double target = u * std::accumulate(sums_.begin(), sums_.end(), 0.0);
  size_t run = 0, last_run = 0;
  for (; run < sums_.size(); ++run) {
    if (sums_[run] > 0) last_run = run;
    if (sums_[run] > target) break;
    target -= sums_[run];
  }
  const size_t begin = last_run * kRun, end = std::min(begin + kRun, weights_.size());
  size_t chosen = begin;
  for (size_t i = begin; i < end; ++i) {
    if (weights_[i] <= 0) continue;
    chosen = i;
    if (weights_[i] > target) break;
    target -= weights_[i];
  }
  return static_cast<int32_t>(chosen);
}

void CandidateFilter::keep_top_k(std::span<const float> logits, float temperature, size_t k) {
  const float highest = logits[static_cast<size_t>(arg_max(logits))] / temperature;
  const float lowest = kth_largest(logits, k, heap_) / temperature;  // dividing keeps the order
  for (size_t i = 0; i < logits.size(); ++i)
    if (const float scaled = logits[i] / temperature; scaled >= lowest)
      kept_.push_back({static_cast<int32_t>(i), exp_of_nonpositive(scaled - highest)});
}

void CandidateFilter::keep_range(float least, float below) {
  for (size_t i = 0; i < weights_.size(); ++i)
    if (weights_[i] >= least && weights_[i] < below)
      kept_.push_back({static_cast<int32_t>(i), weights_[i]});
}

// Looks only as far down as the sum asks: most rows are decided among the few likeliest tokens.
void CandidateFilter::keep_top_p(double top_p) {
  const double limit = top_p * std::accumulate(sums_.begin(), sums_.end(), 0.0);
  double sum = 0;
  float least = 1.0f / 64, below = 2;
  while (below > 0) {
    const size_t sorted = kept_.size();
    keep_range(least, below);
    std::sort(kept_.begin() + static_cast<ptrdiff_t>(sorted), kept_.end(), is_likelier);
    for (size_t i = sorted; i < kept_.size(); ++i) {
      if (sum >= limit) return kept_.resize(i);
      sum += kept_[i].weight;
    }
    below = least;
    least = least > 1e-30f ? least / 64 : 0;
  }
}

void CandidateFilter::cut_top_p(double top_p) {
  const double limit = top_p * total_weight(kept_);
  std::sort(kept_.begin(), kept_.end(), is_likelier);
  double sum = 0;
  for (size_t i = 0; i < kept_.size(); ++i) {
    if (sum >= limit) return kept_.resize(i);
    sum += kept_[i].weight;
  }
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

PromptLogprob prompt_logprob(std::span<const float> logits, int32_t token, int count) {
  const float own = logits[static_cast<size_t>(token)];
  const auto above =
      std::count_if(logits.begin(), logits.end(), [own](float value) { return value >= own; });
  return {raw_logprobs(logits, token, count), static_cast<int32_t>(above)};
}

}  // namespace quern
