// SPDX-License-Identifier: Apache-2.0
#include "eval/statistics.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "bench/statistics.h"

namespace quern::eval {
namespace {

constexpr double kZ = 1.959963984540054;  // 95 of 100
constexpr int kSamples = 2'000;

// The natural logarithm of `n` over `k`.
double log_choose(int64_t n, int64_t k) {
  const auto log_factorial = [](int64_t x) { return std::lgamma(static_cast<double>(x) + 1); };
  return log_factorial(n) - log_factorial(k) - log_factorial(n - k);
}

// That of n fair coins at most `k` or at least n - k show heads.
double two_sided(int64_t k, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i <= k; ++i)
    sum += std::exp(log_choose(n, i) - static_cast<double>(n) * std::log(2.0));
  return std::min(1.0, 2 * sum);
}

}  // namespace

Interval wilson(int64_t successes, int64_t trials) {
  if (trials <= 0) return {0, 1};
  const auto n = static_cast<double>(trials);
  const double p = static_cast<double>(successes) / n, z2 = kZ * kZ;
  const double middle = (p + z2 / (2 * n)) / (1 + z2 / n);
  const double half = kZ / (1 + z2 / n) * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  return {successes == 0 ? 0 : std::max(0.0, middle - half),
          successes == trials ? 1 : std::min(1.0, middle + half)};
}

void PairedCounts::add(bool first, bool second) {
  if (first)
    ++(second ? both : first_alone);
  else
    ++(second ? second_alone : neither);
}

PairedDifference paired_difference(const PairedCounts& counts) {
  const int64_t all = counts.count();
  if (all == 0) return {.difference = 0, .interval = {-1, 1}, .p_value = 1};
  const auto n = static_cast<double>(all);
  const auto b = static_cast<double>(counts.first_alone);
  const auto c = static_cast<double>(counts.second_alone);
  const double p = (b + 1) / (n + 2), q = (c + 1) / (n + 2);
  const double half = kZ * std::sqrt((p + q - (p - q) * (p - q)) / (n + 2));
  PairedDifference out;
  out.difference = (b - c) / n;
  out.interval = {std::max(-1.0, p - q - half), std::min(1.0, p - q + half)};
  out.p_value = two_sided(std::min(counts.first_alone, counts.second_alone),
                          counts.first_alone + counts.second_alone);
  return out;
}

void BlockSums::add(double value) {
  if (blocks_.empty() || blocks_.back().count == kTokens) blocks_.emplace_back();
  blocks_.back().sum += value;
  ++blocks_.back().count;
  sum_ += value;
  ++count_;
}

Interval BlockSums::interval(uint64_t seed) const {
  if (blocks_.size() < 2) return {mean(), mean()};
  // The standard fixes this generator's numbers, but not a distribution's.
  std::mt19937_64 random(seed);
  std::vector<double> means;
  for (int i = 0; i < kSamples; ++i) {
    Block all;
    for (size_t k = 0; k < blocks_.size(); ++k) {
      const Block& block = blocks_[random() % blocks_.size()];
      all.sum += block.sum;
      all.count += block.count;
    }
    means.push_back(all.sum / static_cast<double>(all.count));
  }
  std::sort(means.begin(), means.end());
  return {bench::percentile(means, 2.5), bench::percentile(means, 97.5)};
}

}  // namespace quern::eval
