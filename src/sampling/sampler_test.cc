// SPDX-License-Identifier: Apache-2.0
#include "sampling/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/error.h"
#include "base/random.h"

namespace quern {
namespace {

const LogitHook kNoHook;

std::vector<int32_t> draws(const SamplingParams& params,
                           int choice,
                           const std::vector<float>& row,
                           size_t count) {
  Sampler sampler(params, choice, kNoHook);
  std::vector<int32_t> output;
  while (output.size() < count) {
    std::vector<float> logits = row;
    output.push_back(sampler.next(logits, {output, 0}).token);
  }
  return output;
}

TEST(Uniform, IsEvenAndDependsOnAllThree) {
  std::set<double> values;
  double sum = 0;
  int below_tenth = 0;
  for (uint64_t seed = 0; seed < 10; ++seed)
    for (uint64_t choice = 0; choice < 10; ++choice)
      for (uint64_t position = 0; position < 100; ++position) {
        const double u = uniform(seed, choice, position);
        EXPECT_GE(u, 0);
        EXPECT_LT(u, 1);
        sum += u;
        below_tenth += u < 0.1 ? 1 : 0;
        values.insert(u);
      }
  EXPECT_EQ(values.size(), 10000u);
  EXPECT_NEAR(sum / 10000, 0.5, 0.01);
  EXPECT_NEAR(below_tenth, 1000, 100);
}

TEST(Sampler, TheSameSeedAndChoiceDrawTheSame) {
  const std::vector<float> row(50, 0.0f);
  SamplingParams params;
  params.seed = 42;
  const auto first = draws(params, 0, row, 30);
  EXPECT_EQ(draws(params, 0, row, 30), first);
  EXPECT_NE(draws(params, 1, row, 30), first);
  params.seed = 43;
  EXPECT_NE(draws(params, 0, row, 30), first);
}

TEST(Sampler, DrawsAsOftenAsTheDistributionSays) {
  const std::vector<float> row = {0, 1, 2, -1};
  SamplingParams params;
  params.temperature = 0.8;
  params.top_k = 3;
  const auto expected = sampled_distribution(row, params, {});
  std::vector<double> share(row.size());
  for (const int32_t token : draws(params, 0, row, 20000))
    share[static_cast<size_t>(token)] += 1.0 / 20000;
  for (size_t i = 0; i < row.size(); ++i) EXPECT_NEAR(share[i], expected[i], 0.012);
  EXPECT_EQ(share[3], 0);
}

TEST(Sampler, TemperatureZeroTakesTheFirstLargest) {
  SamplingParams params;
  params.temperature = 0;
  params.top_p = 0.1;
  EXPECT_THAT(draws(params, 3, {1, 5, 5}, 3), testing::Each(1));
  EXPECT_THAT(sampled_distribution(std::vector<float>{1, 5, 5}, params, {}),
              testing::ElementsAre(0, 1, 0));
}

TEST(Sampler, LogprobsAreOfTheRowBeforeItWasEdited) {
  SamplingParams params;
  params.temperature = 0;
  params.logit_bias = {{0, -50.0f}};
  params.logprobs = 2;
  Sampler sampler(params, 0, kNoHook);
  std::vector<float> row = {2, 1, 0};
  const SampledToken sampled = sampler.next(row, {});
  EXPECT_EQ(sampled.token, 1);
  ASSERT_EQ(sampled.logprobs.size(), 3u);
  EXPECT_EQ(sampled.logprobs[1].token, 0);
  EXPECT_NEAR(sampled.logprobs[0].logprob, 1 - std::log(std::exp(2) + std::exp(1) + 1), 1e-6);
}

TEST(Sampler, RowsThatCannotBeSampledThrow) {
  SamplingParams params;
  params.allowed_token_ids = {1};
  params.bad_words = {{1}};
  Sampler sampler(params, 0, kNoHook);
  std::vector<float> row = {0, 0};
  EXPECT_THROW(sampler.next(row, {}), Error);
  const SamplingParams plain;
  Sampler other(plain, 0, kNoHook);
  row = {0, NAN};
  EXPECT_THROW(other.next(row, {}), Error);
}

}  // namespace
}  // namespace quern
