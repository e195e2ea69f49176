// SPDX-License-Identifier: Apache-2.0
// Vectors of prompts: the rows that they are said to be, the same however the prompt is cut, set
// back or shared.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/engine_rig.h"
#include "engine/pooled_rows.h"

namespace quern {
namespace {

using Vector = std::vector<float>;

EngineConfig pooling_config(PoolingType type) {
  EngineConfig config = small_config();
  config.pooling = type;
  return config;
}

Request pooled_request(const std::string& id, std::vector<int32_t> ids) {
  return text_request(id, std::move(ids), 0);
}

std::vector<std::vector<int32_t>> prompts() {
  std::vector<std::vector<int32_t>> out;
  for (int i = 0; i < 11; ++i) out.push_back(some_ids(static_cast<uint64_t>(i / 2), 1 + 17 * i));
  return out;
}

// All at once.
std::vector<Vector> vectors_of(EngineRig& rig) {
  std::vector<std::shared_ptr<EventStream>> streams;
  for (const auto& ids : prompts())
    streams.push_back(rig.engine->submit(pooled_request(format("r{}", streams.size()), ids)));
  std::vector<Vector> out;
  for (const auto& stream : streams) {
    const Answer answer = collect(*stream);
    EXPECT_EQ(answer.ends[0].finish, FinishReason::stop) << answer.ends[0].error;
    EXPECT_TRUE(answer.tokens[0].empty());
    out.push_back(answer.ends[0].pooled);
  }
  rig.expect_nothing_left();
  return out;
}

Vector row_of(EngineRig& last, const std::vector<int32_t>& ids, size_t row) {
  return last.run(pooled_request("x", {ids.begin(), ids.begin() + static_cast<ptrdiff_t>(row) + 1}))
      .ends[0]
      .pooled;
}

TEST(Pooling, TakesTheRowsThatItIsNamedAfter) {
  EngineRig last(pooling_config(PoolingType::last)), mean(pooling_config(PoolingType::mean)),
      cls(pooling_config(PoolingType::cls));
  const std::vector<int32_t> ids = some_ids(3, 21);
  std::vector<double> sums(FakeModel::kVocab);
  for (size_t row = 0; row < ids.size(); ++row) {
    const Vector own = row_of(last, ids, row);
    ASSERT_EQ(own.size(), sums.size());
    for (size_t i = 0; i < own.size(); ++i) sums[i] += double{own[i]};
  }
  const Vector pooled = mean.run(pooled_request("a", ids)).ends[0].pooled;
  for (size_t i = 0; i < sums.size(); ++i)
    EXPECT_EQ(pooled.at(i), static_cast<float>(sums[i] / 21));
  EXPECT_EQ(cls.run(pooled_request("a", ids)).ends[0].pooled, row_of(last, ids, 0));
  EXPECT_NE(row_of(last, ids, 20), row_of(last, ids, 19));
}

void expect_same(const EngineConfig& config, const std::string& what, std::set<uint64_t> lose_at) {
  static std::map<PoolingType, std::vector<Vector>> expected;
  std::vector<Vector>& own = expected[*config.pooling];
  if (own.empty()) {
    EngineRig alone(pooling_config(*config.pooling));
    for (const auto& ids : prompts())
      own.push_back(alone.run(pooled_request("a", ids)).ends[0].pooled);
  }
  EngineRig rig(config);
  {
    const std::lock_guard lock(rig.log.mutex);
    rig.log.lose_at = std::move(lose_at);
  }
  EXPECT_EQ(vectors_of(rig), own) << what;
  EXPECT_EQ(vectors_of(rig), own) << what << ", once more";
  const std::lock_guard lock(rig.log.mutex);
  EXPECT_LE(rig.log.most_rows, static_cast<size_t>(config.most_rows())) << what;
}

class EveryPooling : public testing::TestWithParam<PoolingType> {};

TEST_P(EveryPooling, IsTheSameForAnyChunkSeatsBlocksAndCache) {
  for (const int tokens : {1, 2, 5, 17, 1000}) {
    EngineConfig config = pooling_config(GetParam());
    config.max_num_batched_tokens = tokens;
    expect_same(config, format("{} tokens a step", tokens), {});
  }
  for (const int seats : {1, 2, 5}) {
    EngineConfig config = pooling_config(GetParam());
    config.max_num_seqs = config.block_size = seats;
    config.long_prefill_token_threshold = 3 * seats;
    config.enable_prefix_caching = seats != 2;
    expect_same(config, format("{} seats", seats), {});
  }
}

TEST_P(EveryPooling, GoesOnAfterAPreemptionAndALoss) {
  for (const bool has_cache : {true, false}) {
    EngineConfig config = pooling_config(GetParam());
    config.num_blocks = 50;
    config.max_num_batched_tokens = 7;
    config.enable_prefix_caching = has_cache;
    expect_same(config, format("few blocks, cache {}", has_cache), {});
  }
  for (const uint64_t first : {1, 2, 7})
    expect_same(pooling_config(GetParam()), format("lost at {}", first), {first, first + 3});
}

INSTANTIATE_TEST_SUITE_P(Pooling,
                         EveryPooling,
                         testing::Values(PoolingType::last, PoolingType::mean, PoolingType::cls));

TEST(Pooling, FindsTheLastRowBehindCachedBlocks) {
  EngineRig rig(pooling_config(PoolingType::last));
  const std::vector<int32_t> ids = some_ids(1, 40);
  const TokenEvent first = rig.run(pooled_request("a", ids)).ends[0];
  const TokenEvent again = rig.run(pooled_request("a", ids)).ends[0];
  EXPECT_EQ(first.cached_tokens, 0);
  EXPECT_EQ(again.cached_tokens, 36);
  EXPECT_EQ(again.pooled, first.pooled);
  EXPECT_EQ(rig.engine->stats().prompt_tokens, 80);
  EXPECT_EQ(rig.engine->stats().generated_tokens, 0);
}

TEST(Pooling, APromptMayFillTheContext) {
  EngineRig rig(pooling_config(PoolingType::mean));
  EXPECT_FALSE(rig.run(pooled_request("a", some_ids(1, 200))).ends[0].pooled.empty());
  EXPECT_THROW(rig.engine->submit(pooled_request("b", some_ids(1, 201))), Error);
}

TEST(Pooling, ARowThatIsNotANumberFailsTheRequest) {
  for (const PoolingType type : {PoolingType::last, PoolingType::mean}) {
    EngineRig rig(pooling_config(type));
    const Answer bad = rig.run(pooled_request("a", {1, 2, FakeModel::kNanToken}));
    EXPECT_EQ(bad.ends[0].error_reason, "numeric_error");
    EXPECT_EQ(rig.engine->stats().numeric_errors, 1);
    rig.expect_nothing_left();
  }
}

TEST(Pooling, RefusesWhatGenerates) {
  EngineRig rig(pooling_config(PoolingType::last));
  EXPECT_THROW(rig.engine->submit(text_request("a", {1, 2}, 1)), Error);
  Request request = pooled_request("a", {1, 2});
  request.n = 2;
  EXPECT_THROW(rig.engine->submit(request), Error);
  request.n = 1;
  request.params.prompt_logprobs = 1;
  EXPECT_THROW(rig.engine->submit(request), Error);
  EngineConfig config = pooling_config(PoolingType::last);
  config.speculation.tokens = 2;
  EXPECT_THROW(config.validate(), Error);
}

TEST(Pooling, CountsTheRowsOfAStep) {
  EngineConfig config = pooling_config(PoolingType::mean);
  EXPECT_EQ(config.most_rows(), config.max_num_batched_tokens);
  config.pooling = PoolingType::last;
  EXPECT_EQ(config.most_rows(), config.max_num_seqs);
  EXPECT_EQ(rows_pooled(PoolingType::mean, 7), 7);
  EXPECT_EQ(rows_pooled(PoolingType::cls, 7), 1);
}

}  // namespace
}  // namespace quern
