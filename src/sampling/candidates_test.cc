// SPDX-License-Identifier: Apache-2.0
#include "sampling/candidates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "base/error.h"
#include "sampling/exponential.h"
#include "sampling/sampling_params.h"

namespace quern {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Exponential, FollowsTheTrueOne) {
  for (double x = -87.2; x <= 0; x += 0.0137) {
    const double expected = std::exp(static_cast<double>(static_cast<float>(x)));
    EXPECT_NEAR(exp_of_nonpositive(static_cast<float>(x)) / expected, 1, 3e-7) << x;
  }
  EXPECT_EQ(exp_of_nonpositive(0), 1);
  EXPECT_EQ(exp_of_nonpositive(-88), 0);
  EXPECT_EQ(exp_of_nonpositive(-kInfinity), 0);
}

TEST(ArgMax, TakesTheFirstOfEquals) {
  EXPECT_EQ(arg_max(std::vector<float>{-3, 5, 5, 1}), 1);
  EXPECT_EQ(arg_max(std::vector<float>{-kInfinity, -7}), 1);
}

TEST(ArgMax, ErrorsSayWhatIsWrongWithTheRow) {
  const auto code = [](std::vector<float> row) {
    try {
      arg_max(row);
    } catch (const Error& e) {
      return e.code();
    }
    return ErrorCode::cancelled;
  };
  EXPECT_EQ(code({1, NAN, 2}), ErrorCode::internal);
  EXPECT_EQ(code({NAN}), ErrorCode::internal);
  EXPECT_EQ(code({1, kInfinity}), ErrorCode::internal);
  EXPECT_EQ(code({-kInfinity, -kInfinity}), ErrorCode::invalid_argument);
}

// The rules written down plainly, with a full sort and doubles.
std::vector<double> plain_distribution(const std::vector<float>& logits, const SamplingParams& p) {
  std::vector<size_t> order(logits.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(
      order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  size_t kept = order.size();
  if (p.top_k > 0)
    while (kept > static_cast<size_t>(p.top_k) &&
           logits[order[kept - 1]] < logits[order[static_cast<size_t>(p.top_k) - 1]])
      --kept;
  const auto weight = [&](size_t rank) {
    return std::exp((static_cast<double>(logits[order[rank]]) - logits[order[0]]) / p.temperature);
  };
  double total = 0, sum = 0;
  for (size_t i = 0; i < kept; ++i) total += weight(i);
  for (size_t i = 0; i < kept; ++i) {
    if (p.top_p < 1 && sum >= p.top_p * total)
      kept = i;
    else
      sum += weight(i);
  }
  while (p.min_p > 0 && weight(kept - 1) < p.min_p) --kept;
  total = 0;
  for (size_t i = 0; i < kept; ++i) total += weight(i);
  std::vector<double> result(logits.size());
  for (size_t i = 0; i < kept; ++i) result[order[i]] = weight(i) / total;
  return result;
}

TEST(CandidateFilter, AgreesWithThePlainRules) {
  std::mt19937 random(3);
  CandidateFilter filter;
  for (int round = 0; round < 400; ++round) {
    std::vector<float> logits(1 + random() % 700);
    const float spread = random() % 2 == 0 ? 1.0f : 6.0f;
    std::normal_distribution<float> normal(0, spread);
    for (float& x : logits) x = normal(random);
    SamplingParams p;
    p.temperature = std::vector{0.3, 0.7, 1.0, 1.7}[random() % 4];
    p.top_k = std::vector{0, -1, 1, 5, 40, 1000}[random() % 6];
    p.top_p = std::vector{1.0, 0.001, 0.5, 0.9, 0.9999}[random() % 5];
    p.min_p = std::vector{0.0, 0.05, 0.3, 1.0}[random() % 4];
    const auto expected = plain_distribution(logits, p);
    const auto candidates = filter(logits, p);
    const double total = total_weight(candidates);
    std::vector<double> got(logits.size());
    for (const Candidate& c : candidates) got[static_cast<size_t>(c.token)] = c.weight / total;
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_NEAR(got[i], expected[i], 2e-6) << round << " " << i;
  }
}

TEST(CandidateFilter, KeepsAllThatEqualTheKth) {
  SamplingParams p;
  p.top_k = 2;
  CandidateFilter filter;
  EXPECT_EQ(filter(std::vector<float>{3, 1, 3, 3, 0}, p).size(), 3u);
}

TEST(CandidateFilter, NeverKeepsABannedTokenWithWeight) {
  CandidateFilter filter;
  for (const Candidate& c : filter(std::vector<float>{-kInfinity, 2, -kInfinity, 1}, {}))
    EXPECT_EQ(c.weight > 0, c.token % 2 == 1);
}

// Where nothing is cut, a draw is the inverse of the distribution's sum in the order of tokens.
TEST(CandidateFilter, DrawsByTheSumOfProbabilities) {
  std::mt19937 random(9);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(3001);
  for (float& x : logits) x = normal(random);
  std::fill(logits.begin() + 512, logits.begin() + 1024, -kInfinity);
  logits.back() = -kInfinity;
  const auto expected = plain_distribution(logits, {});
  CandidateFilter filter;
  for (double u = 0; u < 1; u += 0.00173) {
    const auto token = static_cast<size_t>(filter.draw(logits, {}, u));
    const double before =
        std::accumulate(expected.begin(), expected.begin() + static_cast<ptrdiff_t>(token), 0.0);
    EXPECT_GT(expected[token], 0);
    EXPECT_LE(before, u + 1e-6);
    EXPECT_GE(before + expected[token], u - 1e-6);
  }
  EXPECT_NE(filter.draw(logits, {}, 1 - 0x1p-53), 3000);
}

TEST(RawLogprobs, ChosenFirstThenTheBest) {
  const std::vector<float> logits = {1, 3, 2, 3};
  const auto result = raw_logprobs(logits, 0, 3);
  std::vector<int32_t> tokens;
  double normalizer = 0;
  for (const float x : logits) normalizer += std::exp(static_cast<double>(x));
  for (const TokenLogprob& t : result) {
    tokens.push_back(t.token);
    EXPECT_NEAR(t.logprob, logits[static_cast<size_t>(t.token)] - std::log(normalizer), 1e-6);
  }
  EXPECT_THAT(tokens, testing::ElementsAre(0, 1, 3, 2));
  EXPECT_EQ(raw_logprobs(logits, 2, 0).size(), 1u);
  EXPECT_EQ(raw_logprobs(logits, 2, 99).size(), 5u);
}

TEST(RawLogprobs, SumToOneOverALargeVocabulary) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 4);
  std::vector<float> logits(152064);
  for (float& x : logits) x = normal(random);
  double sum = 0;
  for (const TokenLogprob& t : raw_logprobs(logits, 0, static_cast<int>(logits.size())))
    sum += std::exp(t.logprob);
  EXPECT_NEAR(sum - std::exp(raw_logprobs(logits, 0, 0)[0].logprob), 1, 1e-5);
}

}  // namespace
}  // namespace quern
