// SPDX-License-Identifier: Apache-2.0
#include "sampling/logit_processor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace quern {
namespace {

using testing::ElementsAre;
constexpr float kBanned = -std::numeric_limits<float>::infinity();

std::vector<float> processed(const SamplingParams& params,
                             std::vector<float> row,
                             std::vector<int32_t> tokens = {},
                             size_t prompt_length = 0) {
  for (const auto& p : make_logit_processors(params, {})) p->apply(row, {tokens, prompt_length});
  return row;
}

TEST(LogitProcessor, TheChainHoldsOnlyWhatIsAskedFor) {
  SamplingParams params;
  params.stop_token_ids = {1};
  EXPECT_TRUE(make_logit_processors(params, {}).empty());
  params.min_tokens = 1;
  EXPECT_EQ(make_logit_processors(params, {}).size(), 1u);
}

TEST(LogitProcessor, AllowedTokens) {
  SamplingParams params;
  params.allowed_token_ids = {3, 1, 3};
  EXPECT_THAT(processed(params, {1, 2, 3, 4, 5}), ElementsAre(kBanned, 2, kBanned, 4, kBanned));
}

TEST(LogitProcessor, BadWordsOfOneAndOfManyTokens) {
  SamplingParams params;
  params.bad_words = {{4}, {1, 2}, {0, 1, 3}};
  EXPECT_THAT(processed(params, {9, 9, 9, 9, 9}), ElementsAre(9, 9, 9, 9, kBanned));
  EXPECT_THAT(processed(params, {9, 9, 9, 9, 9}, {0, 1}),
              ElementsAre(9, 9, kBanned, kBanned, kBanned));
  // Only the output counts.
  EXPECT_THAT(processed(params, {9, 9, 9, 9, 9}, {0, 1}, 1),
              ElementsAre(9, 9, kBanned, 9, kBanned));
  EXPECT_THAT(processed(params, {9, 9, 9, 9, 9}, {0, 1}, 2), ElementsAre(9, 9, 9, 9, kBanned));
}

TEST(LogitProcessor, MinTokensMasksTheStopIds) {
  SamplingParams params;
  params.stop_token_ids = {0, 2};
  params.min_tokens = 2;
  EXPECT_THAT(processed(params, {1, 2, 3}, {5, 6, 7}, 2), ElementsAre(kBanned, 2, kBanned));
  EXPECT_THAT(processed(params, {1, 2, 3}, {5, 6, 7, 8}, 2), ElementsAre(1, 2, 3));
}

TEST(LogitProcessor, LogitBias) {
  SamplingParams params;
  params.logit_bias = {{1, 2.5f}, {0, -100.0f}};
  EXPECT_THAT(processed(params, {1, 2, 3}), ElementsAre(-99, 4.5f, 3));
}

TEST(LogitProcessor, RepetitionCountsThePromptTheOthersTheOutput) {
  SamplingParams params;
  params.repetition_penalty = 2;
  EXPECT_THAT(processed(params, {4, -4, 4, -4}, {0, 1, 2, 0}, 2), ElementsAre(2, -8, 2, -4));
  params.repetition_penalty = 1;
  params.presence_penalty = 0.5;
  EXPECT_THAT(processed(params, {4, 4, 4, 4}, {0, 1, 2, 2, 3}, 2), ElementsAre(4, 4, 3.5f, 3.5f));
  params.frequency_penalty = 0.25;
  EXPECT_THAT(processed(params, {4, 4, 4, 4}, {0, 1, 2, 2, 3}, 2), ElementsAre(4, 4, 3.0f, 3.25f));
}

TEST(LogitProcessor, PenaltiesKeepCountAsTheHistoryGrows) {
  SamplingParams params;
  params.frequency_penalty = 1;
  params.repetition_penalty = 1.5;
  const auto growing = make_logit_processors(params, {});
  std::vector<int32_t> tokens = {1, 2};
  for (const int32_t next : {0, 1, 1, 3}) {
    tokens.push_back(next);
    std::vector<float> row = {3, 3, 3, 3, 3};
    growing[0]->apply(row, {tokens, 2});
    EXPECT_EQ(row, processed(params, {3, 3, 3, 3, 3}, tokens, 2));
  }
}

TEST(LogitProcessor, TheModelsHookSeesTheRowFirst) {
  SamplingParams params;
  params.logit_bias = {{0, 1.0f}};
  const LogitHook hook = [](std::span<float> row, std::span<const int32_t> history) {
    EXPECT_THAT(history, ElementsAre(7, 8));
    row[0] = 10;
  };
  std::vector<float> row = {0, 0};
  const std::vector<int32_t> tokens = {7, 8};
  for (const auto& p : make_logit_processors(params, hook)) p->apply(row, {tokens, 1});
  EXPECT_THAT(row, ElementsAre(11, 0));
}

}  // namespace
}  // namespace quern
