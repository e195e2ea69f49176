// SPDX-License-Identifier: Apache-2.0
// Log-probabilities of prompts: true at every place, the same however the prompt is cut, set back
// or shared.
#include <gtest/gtest.h>

#include "engine/engine_rig.h"

namespace quern {
namespace {

Request scored_request(const std::string& id, std::vector<int32_t> ids, int count = 3) {
  Request request = text_request(id, std::move(ids), 4);
  request.params.prompt_logprobs = count;
  return request;
}

TEST(Scoring, EveryRowIsTheModelsOwnAtItsPlace) {
  EngineRig rig;
  const std::vector<int32_t> ids = some_ids(1, 23);
  const Answer answer = rig.run(scored_request("a", ids));
  EXPECT_EQ(answer.score_events, 1);
  ASSERT_EQ(answer.scores.size(), ids.size() - 1);
  EXPECT_EQ(answer.tokens, rig.run(text_request("a", ids, 4)).tokens);
  for (size_t i = 0; i + 1 < ids.size(); ++i) {
    Request request =
        text_request("b", {ids.begin(), ids.begin() + static_cast<ptrdiff_t>(i) + 1}, 1);
    request.params.logprobs = FakeModel::kVocab;
    const std::vector<TokenLogprob> all = rig.run(std::move(request)).ends[0].logprobs;
    const PromptLogprob& own = answer.scores[i];
    ASSERT_EQ(own.logprobs.size(), 4u);
    EXPECT_EQ(own.logprobs[0].token, ids[i + 1]);
    ASSERT_GE(own.rank, 1);
    EXPECT_EQ(all.at(static_cast<size_t>(own.rank)), own.logprobs[0]);
    for (size_t k = 1; k < 4; ++k) EXPECT_EQ(own.logprobs[k], all[k]);
  }
  rig.expect_nothing_left();
}

TEST(Scoring, NothingIsDrawnWhereNothingIsAskedFor) {
  EngineRig rig;
  Request request = scored_request("a", some_ids(1, 200), 0);
  request.params.max_tokens = 0;
  request.n = 2;
  const Answer answer = rig.run(request);  // all the context holds
  EXPECT_EQ(answer.scores.size(), 199u);
  for (const TokenEvent& end : answer.ends) EXPECT_EQ(end.finish, FinishReason::length);
  for (const auto& tokens : answer.tokens) EXPECT_TRUE(tokens.empty());
  EXPECT_EQ(rig.engine->stats().generated_tokens, 0);
  rig.expect_nothing_left();
  request.params.prompt_logprobs = -1;
  EXPECT_THROW(rig.engine->submit(request), Error);
  const Answer single = rig.run(scored_request("b", {5}));
  EXPECT_EQ(single.score_events, 1);
  EXPECT_TRUE(single.scores.empty());
  EXPECT_EQ(single.tokens[0].size(), 4u);
}

TEST(Scoring, CachedBlocksAreComputedAnewAndPublished) {
  EngineRig rig;
  const Answer first = rig.run(text_request("a", some_ids(1, 40), 4));
  const Answer scored = rig.run(scored_request("a", some_ids(1, 40)));
  EXPECT_EQ(scored.cached_tokens, 0);
  EXPECT_EQ(scored.tokens, first.tokens);
  EXPECT_EQ(scored.scores.size(), 39u);
  EXPECT_EQ(rig.run(scored_request("a", some_ids(1, 40))), scored);
  EngineRig fresh;
  EXPECT_EQ(fresh.run(scored_request("a", some_ids(1, 40))), scored);
  EXPECT_EQ(fresh.run(text_request("a", some_ids(1, 40), 4)).cached_tokens, 36);
}

TEST(Scoring, FromATokenOnWhatIsBeforeItComesFromTheCache) {
  EngineRig rig;
  const std::vector<int32_t> ids = some_ids(1, 40);
  const std::vector<PromptLogprob> all = rig.run(scored_request("a", ids)).scores;
  for (const int64_t from : {1, 2, 4, 17, 33, 39}) {
    for (const bool has_cache : {true, false}) {
      EngineConfig config = small_config();
      config.enable_prefix_caching = has_cache;
      EngineRig fresh(config);
      fresh.run(text_request("first", ids, 1));
      Request request = scored_request("b", ids);
      request.score_from = from;
      request.params.max_tokens = from % 2 == 0 ? 4 : 0;
      const Answer answer = fresh.run(std::move(request));
      EXPECT_EQ(
          answer.scores,
          std::vector<PromptLogprob>(all.begin() + static_cast<ptrdiff_t>(from - 1), all.end()));
      const int64_t shared = (from - 1) / config.block_size * config.block_size;
      if (from % 2 == 0) {
        EXPECT_EQ(answer.cached_tokens, has_cache ? shared : 0);
      }
      fresh.expect_nothing_left();
    }
  }
  for (const int64_t from : {-1, 0, 40}) {
    Request request = scored_request("c", ids);
    request.score_from = from;
    EXPECT_THROW(rig.engine->submit(request), Error);
  }
  Request unscored = text_request("d", ids, 4);
  unscored.score_from = 2;
  EXPECT_THROW(rig.engine->submit(unscored), Error);
}

TEST(Scoring, ARowThatIsNotANumberFailsTheRequest) {
  EngineRig rig;
  const Answer bad = rig.run(scored_request("a", {1, 2, FakeModel::kNanToken, 4, 5}));
  EXPECT_EQ(bad.ends[0].error_reason, "numeric_error");
  EXPECT_EQ(rig.engine->stats().numeric_errors, 1);
  rig.expect_nothing_left();
}

std::vector<Request> mixture() {
  std::vector<Request> requests;
  for (int i = 0; i < 9; ++i) {
    Request request =
        scored_request(format("r{}", i), some_ids(static_cast<uint64_t>(i / 2), 5 + 7 * i), i % 4);
    if (i % 3 == 1) request.params.prompt_logprobs = -1;
    if (i % 2 == 1) request.params.temperature = 1;
    if (i == 4 || i == 5) request.n = 3;
    if (i == 8) {
      Request with_picture = picture_request(request.id, 20, {{3, picture(0.5f, 9)}});
      with_picture.params = request.params;
      request = std::move(with_picture);
    }
    request.params.max_tokens = 20;
    requests.push_back(std::move(request));
  }
  return requests;
}

EngineStats expect_same_together(const EngineConfig& config,
                                 const std::string& what,
                                 std::set<uint64_t> lose_at = {}) {
  static const std::vector<Answer> expected = [] {
    EngineRig rig;
    std::vector<Answer> answers;
    for (Request& request : mixture()) answers.push_back(rig.run(std::move(request)));
    return answers;
  }();
  EngineRig rig(config);
  {
    const std::lock_guard lock(rig.log.mutex);
    rig.log.lose_at = std::move(lose_at);
  }
  std::vector<std::pair<std::shared_ptr<EventStream>, int>> streams;
  for (Request& request : mixture()) {
    const int n = request.n;
    streams.emplace_back(rig.engine->submit(std::move(request)), n);
  }
  for (size_t i = 0; i < streams.size(); ++i)
    EXPECT_EQ(collect(*streams[i].first, streams[i].second), expected[i])
        << what << ", request " << i;
  rig.expect_nothing_left();
  const std::lock_guard lock(rig.log.mutex);
  EXPECT_LE(rig.log.most_rows, static_cast<size_t>(config.most_rows())) << what;
  return rig.engine->stats();
}

TEST(Scoring, IsTheSameForAnyChunk) {
  expect_same_together(small_config(), "as they are");
  for (const int tokens : {1, 2, 5, 17, 1000}) {
    EngineConfig config = small_config();
    config.max_num_batched_tokens = tokens;
    expect_same_together(config, format("{} tokens a step", tokens));
  }
  for (const int tokens : {1, 3, 40}) {
    EngineConfig config = small_config();
    config.long_prefill_token_threshold = tokens;
    expect_same_together(config, format("chunks of {}", tokens));
  }
}

TEST(Scoring, IsTheSameForAnySeatsBlocksAndCache) {
  for (const int seats : {1, 2, 5}) {
    EngineConfig config = small_config();
    config.max_num_seqs = seats;
    config.block_size = seats;
    config.enable_prefix_caching = seats != 2;
    expect_same_together(config, format("{} seats", seats));
  }
}

TEST(Scoring, GoesOnAfterAPreemptionAndALoss) {
  int64_t preemptions = 0;
  for (const bool has_cache : {true, false}) {
    EngineConfig config = small_config();
    config.num_blocks = 24;
    config.max_num_batched_tokens = 7;
    config.enable_prefix_caching = has_cache;
    preemptions +=
        expect_same_together(config, format("few blocks, cache {}", has_cache)).preemptions;
  }
  EXPECT_GT(preemptions, 0);
  for (const uint64_t first : {1, 2, 7})
    expect_same_together(small_config(), format("lost at {}", first), {first, first + 3});
}

TEST(Scoring, LongPrefillsAreCutAtTheThreshold) {
  EngineConfig config = small_config();
  config.long_prefill_token_threshold = 8;
  auto model = std::make_shared<FakeModel>();
  std::atomic<int32_t> longest = 0;
  model->before_forward = [&](const Batch& batch) {
    for (size_t s = 0; s + 1 < batch.offsets.size(); ++s)
      longest = std::max<int32_t>(longest, batch.offsets[s + 1] - batch.offsets[s]);
  };
  EngineRig rig(config, model);
  rig.run(text_request("a", some_ids(1, 60)));
  EXPECT_EQ(longest, 8);
}

}  // namespace
}  // namespace quern
