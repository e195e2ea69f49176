// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>

#include "engine/engine_rig.h"

namespace quern {
namespace {

template <typename Body>
ErrorCode code_of(Body&& body, std::string* message = nullptr) {
  try {
    body();
  } catch (const Error& e) {
    if (message) *message = e.what();
    return e.code();
  }
  ADD_FAILURE() << "did not throw";
  return ErrorCode::internal;
}

TEST(Engine, GreedyAndDrawnTokensDiffer) {
  EngineRig rig;
  const Answer greedy = rig.run(text_request("a", some_ids(1, 10)));
  EXPECT_EQ(greedy.tokens[0].size(), 12u);
  EXPECT_EQ(greedy.ends[0].finish, FinishReason::length);
  Request drawn = text_request("a", some_ids(1, 10));
  drawn.params.temperature = 1;
  const Answer first = rig.run(drawn), again = rig.run(drawn);
  EXPECT_EQ(first, again);
  EXPECT_NE(first.tokens, greedy.tokens);
  EXPECT_EQ(first.hashes[0][0], greedy.hashes[0][0]);
  drawn.params.seed = 1;
  EXPECT_NE(rig.run(drawn).tokens, first.tokens);
}

TEST(Engine, EndsAtStopTokens) {
  EngineRig rig;
  const std::vector<int32_t> free = rig.run(text_request("a", some_ids(1, 10))).tokens[0];
  Request request = text_request("a", some_ids(1, 10));
  request.params.stop_token_ids = {free[3]};
  const Answer stopped = rig.run(request);
  EXPECT_EQ(stopped.tokens[0], std::vector<int32_t>(free.begin(), free.begin() + 4));
  EXPECT_EQ(stopped.ends[0].finish, FinishReason::stop);
  EXPECT_EQ(stopped.ends[0].stop_token, free[3]);
  request.params.ignore_eos = true;
  EXPECT_EQ(rig.run(request).tokens[0], free);
  request.params.ignore_eos = false;
  request.params.min_tokens = 6;
  const Answer longer = rig.run(request);
  EXPECT_GE(longer.tokens[0].size(), 6u);
  EXPECT_NE(longer.tokens[0][3], free[3]);
}

TEST(Engine, EndsAtTheContextsEnd) {
  EngineConfig config = small_config();
  config.max_model_len = 20;
  EngineRig rig(config);
  const Answer answer = rig.run(text_request("a", some_ids(1, 15), 100));
  EXPECT_EQ(answer.tokens[0].size(), 5u);
  EXPECT_EQ(answer.ends[0].finish, FinishReason::length);
}

TEST(Engine, RefusesWhatCannotFinishWithTheNumbers) {
  EngineConfig config = small_config();
  config.num_blocks = 10;  // 40 tokens
  EngineRig rig(config);
  std::string message;
  EXPECT_EQ(code_of([&] { rig.engine->submit(text_request("a", some_ids(1, 200))); }, &message),
            ErrorCode::invalid_argument);
  EXPECT_THAT(message,
              testing::AllOf(testing::HasSubstr("200 tokens"), testing::HasSubstr("holds 200")));
  EXPECT_EQ(code_of([&] { rig.engine->submit(text_request("a", some_ids(1, 30), 12)); }, &message),
            ErrorCode::exhausted);
  EXPECT_THAT(message,
              testing::AllOf(testing::HasSubstr("11 KV blocks"), testing::HasSubstr("has 10")));
  EXPECT_EQ(rig.run(text_request("a", some_ids(1, 30), 11)).tokens[0].size(), 11u);
}

TEST(Engine, RefusesMalformedRequests) {
  EngineRig rig;
  const auto refused = [&](const std::function<void(Request&, Prompt&)>& change) {
    Request request = picture_request("a", 8, {{2, picture(1, 4)}});
    auto prompt = std::make_shared<Prompt>(*request.prompt);
    change(request, *prompt);
    if (request.prompt) request.prompt = std::move(prompt);
    return code_of([&] { rig.engine->submit(std::move(request)); }) == ErrorCode::invalid_argument;
  };
  EXPECT_TRUE(refused([](Request& r, Prompt&) { r.prompt = nullptr; }));
  EXPECT_TRUE(refused([](Request& r, Prompt&) { r.n = 0; }));
  EXPECT_TRUE(refused([](Request& r, Prompt&) {
    r.params.logit_bias = {{FakeModel::kVocab, 1.0f}};
  }));
  EXPECT_TRUE(refused([](Request&, Prompt& p) { p.ids.clear(); }));
  EXPECT_TRUE(refused([](Request&, Prompt& p) { p.ids[0] = FakeModel::kVocab; }));
  EXPECT_TRUE(refused([](Request&, Prompt& p) { p.positions.pop_back(); }));
  EXPECT_TRUE(refused([](Request&, Prompt& p) { p.media[0].count = 3; }));
  EXPECT_TRUE(refused([](Request&, Prompt& p) { p.media[0].first_token = 9; }));
  EXPECT_TRUE(refused([](Request&, Prompt& p) { p.media.push_back(p.media[0]); }));
  EXPECT_TRUE(refused([](Request&, Prompt& p) { p.media[0].media = nullptr; }));
  rig.expect_nothing_left();
}

TEST(Engine, ContinuationsShareTheFullBlocksOfThePrompt) {
  for (const bool has_cache : {true, false}) {
    EngineConfig config = small_config();
    config.enable_prefix_caching = has_cache;
    EngineRig rig(config);
    Request request = text_request("a", some_ids(1, 30));
    request.params.temperature = 1;
    request.n = 4;
    const Answer answer = rig.run(request);
    EXPECT_EQ(std::set(answer.tokens.begin(), answer.tokens.end()).size(), 4u);
    for (const auto& hashes : answer.hashes) EXPECT_EQ(hashes[0], answer.hashes[0][0]);
    EXPECT_EQ(rig.engine->stats().cached_tokens, 3 * 28);
    EXPECT_EQ(rig.engine->stats().prompt_tokens, 30);
    request.n = 1;
    EXPECT_EQ(rig.run(request).tokens[0], answer.tokens[0]);
    rig.expect_nothing_left();
  }
}

TEST(Engine, PrefixCacheFindsAllButTheLastToken) {
  EngineRig rig;
  EXPECT_EQ(rig.run(text_request("a", some_ids(1, 16))).cached_tokens, 0);
  EXPECT_EQ(rig.run(text_request("a", some_ids(1, 16))).cached_tokens, 12);
  EXPECT_EQ(rig.run(text_request("a", some_ids(1, 17))).cached_tokens, 16);
  EXPECT_EQ(rig.run(text_request("a", some_ids(2, 17))).cached_tokens, 0);
  EngineConfig config = small_config();
  config.enable_prefix_caching = false;
  EngineRig without(config);
  without.run(text_request("a", some_ids(1, 16)));
  EXPECT_EQ(without.run(text_request("a", some_ids(1, 16))).cached_tokens, 0);
}

TEST(Engine, PrefixesAreSharedUnderTheSameSaltAlone) {
  EngineRig rig;
  const auto run = [&](const std::string& salt) {
    Request request = text_request("a", some_ids(1, 17));
    request.cache_salt = salt;
    return rig.run(std::move(request));
  };
  const Answer first = run("");
  EXPECT_EQ(run("").cached_tokens, 16);
  for (const char* salt : {"red", "blue", "0"}) {
    const Answer cold = run(salt), warm = run(salt);
    EXPECT_EQ(cold.cached_tokens, 0) << salt;
    EXPECT_EQ(warm.cached_tokens, 16) << salt;
    EXPECT_EQ(cold, first);
    EXPECT_EQ(warm, first);
  }
}

TEST(Engine, LogprobsComeWithTheTokens) {
  EngineRig rig;
  Request request = text_request("a", some_ids(1, 5), 1);
  request.params.logprobs = 3;
  const auto stream = rig.engine->submit(request);
  TokenEvent event;
  ASSERT_TRUE(stream->pop(event, 10'000));
  ASSERT_EQ(event.logprobs.size(), 4u);
  EXPECT_EQ(event.logprobs[0].token, event.token);
  EXPECT_EQ(event.logprobs[1].token, event.token);
}

TEST(Engine, TheModelsHookSteersEveryRow) {
  EngineConfig config = small_config();
  config.logit_hook = [](std::span<float> logits, std::span<const int32_t> history) {
    logits[history.size() % 7] = 100;
  };
  EngineRig rig(config);
  EXPECT_EQ(rig.run(text_request("a", some_ids(1, 5), 4)).tokens[0],
            (std::vector<int32_t>{5, 6, 0, 1}));
}

TEST(Engine, TheQueueIsBounded) {
  EngineConfig config = small_config();
  config.max_num_seqs = 1;
  config.max_queue = 2;
  auto model = std::make_shared<FakeModel>();
  Gate gate(*model);
  EngineRig rig(config, model);
  std::vector<std::shared_ptr<EventStream>> streams;
  const auto submit_all = [&] {
    for (int i = 0; i < 200; ++i)
      streams.push_back(rig.engine->submit(text_request(format("r{}", i), some_ids(1, 20), 100)));
  };
  EXPECT_EQ(code_of(submit_all), ErrorCode::exhausted);
  EXPECT_LE(streams.size(), 3u);
  gate.open();
  for (const auto& stream : streams) EXPECT_EQ(collect(*stream).tokens[0].size(), 100u);
  rig.expect_nothing_left();
}

TEST(Engine, AnIdIsUsedOnceAtATime) {
  auto model = std::make_shared<FakeModel>();
  Gate gate(*model);
  EngineRig rig(small_config(), model);
  const auto stream = rig.engine->submit(text_request("a", some_ids(1, 5), 150));
  EXPECT_EQ(code_of([&] { rig.engine->submit(text_request("a", some_ids(1, 5))); }),
            ErrorCode::invalid_argument);
  gate.open();
  collect(*stream);
  rig.run(text_request("a", some_ids(1, 5)));
}

TEST(Engine, PrioritiesNeedTheirPolicy) {
  EngineRig rig;
  Request request = text_request("a", some_ids(1, 5));
  request.priority = 1;
  std::string message;
  EXPECT_EQ(code_of([&] { rig.engine->submit(request); }, &message), ErrorCode::invalid_argument);
  EXPECT_THAT(message, testing::HasSubstr("--scheduling-policy priority"));
}

TEST(Engine, LowerPriorityNumbersRunFirst) {
  EngineConfig config = small_config();
  config.has_priorities = true;
  config.max_num_seqs = 1;
  auto model = std::make_shared<FakeModel>();
  Gate gate(*model);
  EngineRig rig(config, model);
  std::mutex mutex;
  std::vector<std::string> order;
  std::vector<std::shared_ptr<EventStream>> streams = {
      rig.engine->submit(text_request("first", some_ids(1, 5), 3))};
  gate.allow(1);
  TokenEvent event;
  ASSERT_TRUE(streams[0]->pop(event, 10'000));
  for (const int priority : {5, 1, 3, 1}) {
    const std::string id = format("{}:{}", priority, streams.size());
    Request request = text_request(id, some_ids(static_cast<uint64_t>(priority), 5), 1);
    request.priority = priority;
    streams.push_back(rig.engine->submit(std::move(request)));
    streams.back()->set_notify([&, id, said = std::make_shared<bool>(false)] {
      const std::lock_guard lock(mutex);
      if (!std::exchange(*said, true)) order.push_back(id);
    });
  }
  gate.open();
  for (const auto& stream : streams) collect(*stream);
  const std::lock_guard lock(mutex);
  EXPECT_THAT(order, testing::ElementsAre("1:2", "1:4", "3:3", "5:1"));
}

TEST(Engine, ConfigsAreChecked) {
  const auto refused = [](const std::function<void(EngineConfig&)>& change) {
    EngineConfig config = small_config();
    change(config);
    return code_of([&] { config.validate(); }) == ErrorCode::invalid_argument;
  };
  EXPECT_TRUE(refused([](auto& c) { c.num_blocks = 0; }));
  EXPECT_TRUE(refused([](auto& c) { c.num_blocks = int64_t{1} << 40; }));
  EXPECT_TRUE(refused([](auto& c) { c.block_size = 0; }));
  EXPECT_TRUE(refused([](auto& c) { c.max_model_len = 1; }));
  EXPECT_TRUE(refused([](auto& c) { c.max_num_seqs = 0; }));
  EXPECT_TRUE(refused([](auto& c) { c.max_num_batched_tokens = -1; }));
  EXPECT_TRUE(refused([](auto& c) { c.encode_budget_tokens = 0; }));
  EXPECT_TRUE(refused([](auto& c) { c.long_prefill_token_threshold = -1; }));
  EXPECT_TRUE(refused([](auto& c) { c.step_timeout_us = -1; }));
  EXPECT_TRUE(refused([](auto& c) { c.request_timeout_us = -1; }));
  EXPECT_TRUE(refused([](auto& c) { c.speculation.tokens = 17; }));
}

// Processor time while there is nothing to do, over one unanswered wait.
TEST(Engine, AnIdleEngineTakesNoProcessorTime) {
  EngineRig rig;
  rig.run(text_request("a", some_ids(1, 5)));
  EventStream silent;
  TokenEvent event;
  const std::clock_t before = std::clock();
  EXPECT_FALSE(silent.pop(event, 100));
  EXPECT_LT(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC, 0.02);
}

}  // namespace
}  // namespace quern
