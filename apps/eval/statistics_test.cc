// SPDX-License-Identifier: Apache-2.0
#include "eval/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace quern::eval {
namespace {

// The formula of Wilson (1927) written out a second time, in Python.
TEST(EvalStatistics, WilsonByItsFormula) {
  EXPECT_NEAR(wilson(8, 10).low, 0.49016245, 1e-6);
  EXPECT_NEAR(wilson(8, 10).high, 0.94331784, 1e-6);
  EXPECT_NEAR(wilson(50, 100).low, 0.40383153, 1e-6);
  EXPECT_NEAR(wilson(50, 100).high, 0.59616847, 1e-6);
  EXPECT_EQ(wilson(0, 10).low, 0);
  EXPECT_NEAR(wilson(0, 10).high, 0.27753279, 1e-6);
  EXPECT_EQ(wilson(10, 10).high, 1);
  EXPECT_EQ(wilson(0, 0).low, 0);
  EXPECT_EQ(wilson(0, 0).high, 1);
}

TEST(EvalStatistics, WilsonHoldsTheTruthAsOftenAsItSays) {
  std::mt19937_64 random(7);
  for (const double truth : {0.05, 0.3, 0.9}) {
    int held = 0;
    constexpr int kRuns = 4000;
    for (int run = 0; run < kRuns; ++run) {
      int64_t successes = 0;
      for (int i = 0; i < 40; ++i)
        successes += static_cast<double>(random() >> 11) * 0x1p-53 < truth ? 1 : 0;
      const Interval interval = wilson(successes, 40);
      held += interval.low <= truth && truth <= interval.high ? 1 : 0;
    }
    EXPECT_GT(held, kRuns * 92 / 100) << truth;
    EXPECT_LT(held, kRuns * 99 / 100) << truth;
  }
}

PairedCounts counts_of(int64_t both, int64_t first, int64_t second, int64_t neither) {
  return {.both = both, .first_alone = first, .second_alone = second, .neither = neither};
}

TEST(EvalStatistics, PairsAreComparedByThoseThatDiffer) {
  PairedCounts counts;
  for (const auto& [a, b] : {std::pair{true, true}, {true, false}, {false, true}, {false, false}})
    counts.add(a, b);
  EXPECT_EQ(counts.both, 1);
  EXPECT_EQ(counts.first_alone, 1);
  EXPECT_EQ(counts.second_alone, 1);
  EXPECT_EQ(counts.neither, 1);
  // By hand: 2 (C(10,0) + C(10,1) + C(10,2)) / 1024 = 112 / 1024.
  const PairedDifference d = paired_difference(counts_of(60, 8, 2, 30));
  EXPECT_NEAR(d.difference, 0.06, 1e-12);
  EXPECT_NEAR(d.p_value, 112.0 / 1024, 1e-9);
  // By hand: p = 9/102, q = 3/102; p - q +- 1.96 sqrt((p + q - (p - q)^2) / 102).
  const double p = 9.0 / 102, q = 3.0 / 102;
  const double half = 1.959963984540054 * std::sqrt((p + q - (p - q) * (p - q)) / 102);
  EXPECT_NEAR(d.interval.low, p - q - half, 1e-12);
  EXPECT_NEAR(d.interval.high, p - q + half, 1e-12);
}

TEST(EvalStatistics, PairsThatNeverDifferAreNotKnownToBeEqual) {
  const PairedDifference d = paired_difference(counts_of(6, 0, 0, 4));
  EXPECT_EQ(d.difference, 0);
  EXPECT_EQ(d.p_value, 1);
  EXPECT_LT(d.interval.low, -0.05);
  EXPECT_GT(d.interval.high, 0.05);
  EXPECT_EQ(paired_difference({}).p_value, 1);
  EXPECT_EQ(paired_difference({}).interval.low, -1);
  EXPECT_EQ(paired_difference(counts_of(0, 3, 3, 0)).p_value, 1);  // never above 1
  EXPECT_LT(paired_difference(counts_of(0, 2000, 1000, 0)).p_value, 1e-6);
}

TEST(EvalStatistics, BlocksAreDrawnAnewBySeed) {
  BlockSums sums;
  std::mt19937_64 random(3);
  double all = 0;
  for (int i = 0; i < 100 * BlockSums::kTokens; ++i) {
    const double value = static_cast<double>(random() >> 11) * 0x1p-53;
    sums.add(value);
    all += value;
  }
  EXPECT_EQ(sums.count(), 100 * BlockSums::kTokens);
  EXPECT_NEAR(sums.mean(), all / static_cast<double>(sums.count()), 1e-12);
  const Interval interval = sums.interval(0);
  EXPECT_LT(interval.low, sums.mean());
  EXPECT_GT(interval.high, sums.mean());
  // Independent values: as wide as theory has it, 2 x 1.96 x sqrt(1/12 / 3200).
  EXPECT_NEAR(interval.high - interval.low, 2 * 1.96 * std::sqrt(1.0 / 12 / 3200), 0.006);
  EXPECT_EQ(sums.interval(0).low, interval.low);
  EXPECT_NE(sums.interval(1).low, interval.low);
}

TEST(EvalStatistics, FewTokensHaveNoIntervalToSpeakOf) {
  BlockSums sums;
  EXPECT_EQ(sums.mean(), 0);
  EXPECT_EQ(sums.interval(0).low, 0);
  sums.add(2);
  EXPECT_EQ(sums.interval(0).low, 2);
  EXPECT_EQ(sums.interval(0).high, 2);
}

}  // namespace
}  // namespace quern::eval
