// SPDX-License-Identifier: Apache-2.0
#include "bench/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "base/error.h"

namespace quern::bench {

double percentile(const std::vector<double>& sorted, double percent) {
  QUERN_CHECK(!sorted.empty() && percent >= 0 && percent <= 100, "{}", percent);
  const double at = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

Summary summarize(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto count = static_cast<double>(values.size());
  Summary out;
  out.mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0;
  for (const double v : values) squares += (v - out.mean) * (v - out.mean);
  out.std = std::sqrt(squares / count);
  out.median = out.p50 = percentile(values, 50);
  out.p90 = percentile(values, 90);
  out.p99 = percentile(values, 99);
  return out;
}

std::vector<double> poisson_arrivals(double rate, int count, uint64_t seed) {
  QUERN_CHECK(rate > 0 && count >= 0, "{} {}", rate, count);
  // The standard fixes the generator's numbers but not a distribution's: the logarithm is taken
  // here.
  std::mt19937_64 random(seed);
  std::vector<double> out;
  double at = 0;
  for (int i = 0; i < count; ++i) {
    const double uniform = static_cast<double>(random() >> 11) * 0x1p-53;  // [0, 1)
    at += std::isinf(rate) ? 0 : -std::log1p(-uniform) / rate;
    out.push_back(at);
  }
  return out;
}

int64_t length_near(int64_t length, double ratio, std::mt19937_64& random) {
  const auto spread = static_cast<int64_t>(std::floor(ratio * static_cast<double>(length)));
  const auto range = static_cast<uint64_t>(2 * spread + 1);
  return std::max<int64_t>(1, length - spread + static_cast<int64_t>(random() % range));
}

}  // namespace quern::bench
