// SPDX-License-Identifier: Apache-2.0
#include "sampling/repetition_aware.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "sampling/sampler.h"

namespace quern {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// Logits of these probabilities.
std::vector<float> logits_of(const std::vector<double>& probabilities) {
  std::vector<float> out;
  for (const double p : probabilities)
    out.push_back(p > 0 ? static_cast<float>(std::log(p)) : kNever);
  return out;
}

std::vector<int32_t> tokens_of(const std::vector<Candidate>& candidates) {
  std::vector<int32_t> out;
  for (const Candidate& c : candidates) out.push_back(c.token);
  return out;
}

const std::vector<float> kRow = logits_of({0.05, 0.5, 0.1, 0, 0.25, 0.1});

TEST(RepetitionAware, TheNucleusEndsWhereItsSumIsReached) {
  using testing::ElementsAre;
  EXPECT_THAT(tokens_of(nucleus(kRow, {})), ElementsAre(1, 4, 2));  // 0.75 is less than 0.8
  EXPECT_THAT(tokens_of(nucleus(kRow, {.top_p = 0.7})), ElementsAre(1, 4));
  EXPECT_THAT(tokens_of(nucleus(kRow, {.top_p = 1})), ElementsAre(1, 4, 2, 5, 0));  // not the 3
  EXPECT_THAT(tokens_of(nucleus(kRow, {.top_p = 1, .top_k = 2})), ElementsAre(1, 4));
}

TEST(RepetitionAware, OnlyTheWindowCounts) {
  const std::vector<int32_t> said = {4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  EXPECT_TRUE(is_repeated(1, said, {}));
  EXPECT_FALSE(is_repeated(4, said, {}));  // eleven back
  EXPECT_FALSE(is_repeated(1, said, {.most_repeats = 2}));
  EXPECT_FALSE(is_repeated(1, said, {.window = 0}));
}

TEST(RepetitionAware, ARepeatedTokenIsDrawnAgainFromAll) {
  const std::vector<int32_t> said = {1};
  EXPECT_EQ(draw_repetition_aware(kRow, {}, {}, 0, 0), 1);
  EXPECT_EQ(draw_repetition_aware(kRow, said, {}, 0, 0), 0);       // below 0.05 of all
  EXPECT_EQ(draw_repetition_aware(kRow, said, {}, 0, 0.3), 1);     // the second draw stands
  EXPECT_EQ(draw_repetition_aware(kRow, said, {}, 0, 0.9999), 5);  // outside of the nucleus
  EXPECT_EQ(draw_repetition_aware(kRow, said, {}, 0.7, 0.9999), 4);
}

TEST(RepetitionAware, DrawsFollowTheStatedDistribution) {
  SamplingParams params;
  params.repetition_aware = RepetitionAware{};
  const std::vector<int32_t> history = {9, 1, 2};
  const std::vector<float> stated = sampled_distribution(kRow, params, {history, 1});
  EXPECT_FLOAT_EQ(stated[3], 0);
  std::vector<int> counts(kRow.size());
  constexpr int kDraws = 40'000;
  for (int seed = 0; seed < kDraws; ++seed) {
    params.seed = static_cast<uint64_t>(seed);
    const LogitHook none;
    Sampler sampler(params, 0, none);
    std::vector<float> row = kRow;
    ++counts[static_cast<size_t>(sampler.next(row, {history, 1}).token)];
  }
  for (size_t i = 0; i < counts.size(); ++i)
    EXPECT_NEAR(counts[i] / static_cast<double>(kDraws), stated[i], 0.01) << i;
}

TEST(RepetitionAware, AnImpossibleRuleIsRefused) {
  for (const RepetitionAware& rule : {RepetitionAware{.top_p = 0},
                                      RepetitionAware{.top_p = std::nan("")},
                                      RepetitionAware{.top_k = 0},
                                      RepetitionAware{.window = -1},
                                      RepetitionAware{.most_repeats = 0}})
    EXPECT_THROW(rule.validate(), Error);
}

}  // namespace
}  // namespace quern
