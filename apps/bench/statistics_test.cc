// SPDX-License-Identifier: Apache-2.0
#include "bench/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace quern::bench {
namespace {

TEST(Percentile, LiesBetweenNeighbours) {
  const std::vector<double> values = {10, 20, 30, 40, 50};
  EXPECT_DOUBLE_EQ(percentile(values, 0), 10);
  EXPECT_DOUBLE_EQ(percentile(values, 50), 30);
  EXPECT_DOUBLE_EQ(percentile(values, 90), 46);
  EXPECT_DOUBLE_EQ(percentile(values, 99), 49.6);
  EXPECT_DOUBLE_EQ(percentile(values, 100), 50);
  EXPECT_DOUBLE_EQ(percentile({7}, 99), 7);
}

TEST(Summary, IsThatOfThePopulationInAnyOrder) {
  const Summary s = summarize({4, 1, 3, 2});
  EXPECT_DOUBLE_EQ(s.mean, 2.5);
  EXPECT_DOUBLE_EQ(s.median, 2.5);
  EXPECT_DOUBLE_EQ(s.p50, 2.5);
  EXPECT_DOUBLE_EQ(s.std, std::sqrt(1.25));
  EXPECT_DOUBLE_EQ(s.p90, 3.7);
  EXPECT_EQ(summarize({}).mean, 0);
}

TEST(PoissonArrivals, RepeatWithTheSeedAndRise) {
  const std::vector<double> a = poisson_arrivals(5, 100, 1);
  EXPECT_EQ(a, poisson_arrivals(5, 100, 1));
  EXPECT_NE(a, poisson_arrivals(5, 100, 2));
  EXPECT_TRUE(std::is_sorted(a.begin(), a.end()));
  EXPECT_GT(a.front(), 0);
}

TEST(PoissonArrivals, HaveExponentialGaps) {
  constexpr int kCount = 100'000;
  const std::vector<double> at = poisson_arrivals(4, kCount, 0);
  double squares = 0;
  for (size_t i = 1; i < at.size(); ++i)
    squares += (at[i] - at[i - 1] - 0.25) * (at[i] - at[i - 1] - 0.25);
  // Mean and standard deviation of a gap are both 1/4; their errors shrink with the root of the
  // count.
  EXPECT_NEAR(at.back() / kCount, 0.25, 0.25 * 5 / std::sqrt(kCount));
  EXPECT_NEAR(std::sqrt(squares / kCount), 0.25, 0.25 * 10 / std::sqrt(kCount));
}

TEST(PoissonArrivals, ComeAtOnceAtAnInfiniteRate) {
  EXPECT_EQ(poisson_arrivals(std::numeric_limits<double>::infinity(), 3, 0),
            (std::vector<double>{0, 0, 0}));
}

}  // namespace
}  // namespace quern::bench
