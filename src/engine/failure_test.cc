// SPDX-License-Identifier: Apache-2.0
// Cancelled, late, slow and failing requests; failing steps and lost workers.
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "engine/engine_rig.h"

namespace quern {
namespace {

// Reads until an event came, so that the request surely runs.
void await_first_token(EventStream& stream) {
  TokenEvent event;
  ASSERT_TRUE(stream.pop(event, 20'000));
}

TEST(Cancel, FreesTheBlocksAndEndsTheStream) {
  EngineRig rig;
  Request request = text_request("a", some_ids(1, 20), 170);
  request.n = 2;
  const auto stream = rig.engine->submit(std::move(request));
  await_first_token(*stream);
  rig.engine->cancel("a");
  rig.engine->cancel("never heard of");
  const Answer answer = collect(*stream, 2);
  for (const TokenEvent& end : answer.ends) EXPECT_EQ(end.finish, FinishReason::cancelled);
  rig.expect_nothing_left();
  EXPECT_EQ(rig.engine->stats().requests_finished[static_cast<size_t>(FinishReason::cancelled)], 1);
  EXPECT_EQ(rig.run(text_request("a", some_ids(1, 20))).tokens[0].size(), 12u);
}

TEST(Cancel, TakesEffectWithinOneStep) {
  auto model = std::make_shared<FakeModel>();
  Gate gate(*model);
  EngineRig rig(small_config(), model);
  const auto stream = rig.engine->submit(text_request("a", some_ids(1, 20), 170));
  gate.allow(1);
  await_first_token(*stream);
  rig.engine->cancel("a");  // the second step may be under way; there is no third
  gate.open();
  EXPECT_EQ(collect(*stream).ends[0].finish, FinishReason::cancelled);
  rig.expect_nothing_left();
  EXPECT_LE(model->steps, 2);
}

TEST(Cancel, Storm) {
  EngineConfig config = small_config();
  config.num_blocks = 60;
  EngineRig rig(config);
  std::vector<std::thread> callers;
  for (uint64_t caller = 0; caller < 4; ++caller)
    callers.emplace_back([&rig, caller] {
      std::mt19937_64 random(caller);
      for (int i = 0; i < 60; ++i) {
        const std::string id = format("{}:{}", caller, i);
        Request request =
            random() % 3 == 0
                ? picture_request(id,
                                  12,
                                  {{static_cast<int32_t>(random() % 10),
                                    picture(static_cast<float>(random() % 3), 6)}})
                : text_request(id,
                               some_ids(random() % 4, 1 + static_cast<int>(random() % 40)),
                               1 + static_cast<int>(random() % 60));
        request.n = 1 + static_cast<int>(random() % 3);
        const int n = request.n;
        const auto stream = rig.engine->submit(std::move(request));
        if (random() % 4 != 0) {
          TokenEvent event;
          for (uint64_t wait = random() % 10; wait > 0; --wait) stream->pop(event, 1000);
          rig.engine->cancel(id);
        }
        for (const TokenEvent& end : collect(*stream, n).ends)
          EXPECT_TRUE(end.finish != FinishReason::error) << end.error;
      }
    });
  for (std::thread& caller : callers) caller.join();
  rig.expect_nothing_left();
  rig.run(text_request("last", some_ids(1, 3)));
  const std::lock_guard lock(rig.log.mutex);
  EXPECT_TRUE(rig.log.held.empty()) << "the worker keeps pictures that nobody needs";
}

TEST(Deadline, EndsALateRequest) {
  EngineRig rig;
  Request request = text_request("a", some_ids(1, 20), 170);
  request.deadline_us = 1000;
  // Nobody reads: the request pauses long before its end, and the engine sleeps.
  request.n = 4;
  const auto stream = rig.engine->submit(std::move(request));
  await_first_token(*stream);
  rig.clock.advance_us(1000);
  const Answer answer = collect(*stream, 4);
  EXPECT_EQ(answer.ends[0].finish, FinishReason::error);
  EXPECT_EQ(answer.ends[0].error_code, ErrorCode::unavailable);
  rig.expect_nothing_left();
}

TEST(SlowConsumer, PausesItsOwnRequestAlone) {
  EngineConfig config = small_config();
  config.max_model_len = 1000;
  EngineRig rig(config);
  const Answer expected = rig.run(text_request("a", some_ids(1, 9), 900));
  const auto slow = rig.engine->submit(text_request("a", some_ids(1, 9), 900));
  for (int i = 0; i < 30; ++i)
    EXPECT_EQ(rig.run(text_request("b", some_ids(2, 9), 40)).tokens[0].size(), 40u);
  const EngineStats stats = rig.engine->stats();
  EXPECT_EQ(stats.running, 1);
  EXPECT_GT(stats.blocks_used, 0);
  EXPECT_EQ(collect(*slow), expected);
  rig.expect_nothing_left();
}

TEST(SlowConsumer, GivesWayWhenOthersHaveNoBlocks) {
  EngineConfig config = small_config();
  config.max_model_len = 1000;
  config.num_blocks = 120;  // 480 tokens: the slow one fills more than half before it pauses
  EngineRig rig(config);
  const Answer expected = rig.run(text_request("a", some_ids(1, 9), 400));
  const auto slow = rig.engine->submit(text_request("a", some_ids(1, 9), 400));
  for (int i = 0; i < 8; ++i)
    EXPECT_EQ(rig.run(text_request("b", some_ids(2, 9), 250)).tokens[0].size(), 250u);
  EXPECT_GT(rig.engine->stats().preemptions, 0);
  EXPECT_EQ(collect(*slow), expected);
  rig.expect_nothing_left();
}

TEST(Failure, ARowThatIsNotANumberFailsItsRequestAlone) {
  for (const float poison :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    EngineRig rig;
    rig.model->poison = poison;
    const Answer expected = rig.run(text_request("good", some_ids(1, 9), 60));
    EXPECT_EQ(rig.engine->stats().numeric_errors, 0);
    int64_t failed = 0;
    for (const double temperature : {0.0, 1.0})
      for (const bool hides_it : {false, true}) {
        const auto good = rig.engine->submit(text_request("good", some_ids(1, 9), 60));
        Request poisoned = text_request("bad", {1, 2, FakeModel::kNanToken});
        poisoned.params.temperature = temperature;
        if (hides_it) poisoned.params.bad_words = {{0}};
        const Answer bad = rig.run(std::move(poisoned));
        EXPECT_EQ(bad.ends[0].finish, FinishReason::error);
        EXPECT_EQ(bad.ends[0].error_reason, "numeric_error");
        EXPECT_NE(bad.ends[0].error.find("not a number"), std::string::npos);
        EXPECT_TRUE(bad.tokens[0].empty());
        EXPECT_EQ(collect(*good), expected);
        EXPECT_EQ(rig.engine->stats().numeric_errors, ++failed);
        rig.expect_nothing_left();
      }
    EXPECT_TRUE(rig.engine->is_healthy());
    EXPECT_EQ(rig.engine->stats().epoch, 1u);
  }
}

TEST(Failure, NoTokenLeftToChoose) {
  EngineRig rig;
  Request request = text_request("a", some_ids(1, 9));
  request.params.allowed_token_ids = {3};
  request.params.bad_words = {{3}};
  const Answer answer = rig.run(std::move(request));
  EXPECT_EQ(answer.ends[0].error_code, ErrorCode::invalid_argument);
  rig.expect_nothing_left();
}

TEST(Failure, IdsOutsideTheVocabularyAreFoundEvenWithoutItsSize) {
  EngineConfig config = small_config();
  config.vocab_size = 0;
  EngineRig rig(config);
  Request request = text_request("a", some_ids(1, 9));
  request.params.logit_bias = {{5'000'000, 1.0f}};
  EXPECT_EQ(rig.run(std::move(request)).ends[0].error_code, ErrorCode::invalid_argument);
  EXPECT_EQ(rig.run(text_request("b", {1, FakeModel::kVocab})).ends[0].error_code,
            ErrorCode::invalid_argument);
  EXPECT_EQ(rig.run(text_request("c", some_ids(1, 9))).tokens[0].size(), 12u);
  rig.expect_nothing_left();
}

TEST(Failure, AFailedStepFailsItsRequestsAndTheEngineLives) {
  auto model = std::make_shared<FakeModel>();
  model->before_forward = [](const Batch& batch) {
    for (const int32_t token : batch.tokens) {
      if (token == 81) fail(ErrorCode::exhausted, "fake: out of memory");
      if (token == 82) fail(ErrorCode::unavailable, "fake: not a loss of workers");
      if (token == 83) throw std::runtime_error("fake: something else");
    }
  };
  EngineRig rig(small_config(), model);
  const Answer expected = rig.run(text_request("good", some_ids(1, 9)));
  const std::pair<int32_t, ErrorCode> cases[] = {
      {81, ErrorCode::exhausted}, {82, ErrorCode::internal}, {83, ErrorCode::internal}};
  for (const auto& [token, code] : cases) {
    const Answer answer = rig.run(text_request("bad", {1, token}));
    EXPECT_EQ(answer.ends[0].finish, FinishReason::error);
    EXPECT_EQ(answer.ends[0].error_code, code);
    rig.expect_nothing_left();
    EXPECT_EQ(rig.run(text_request("good", some_ids(1, 9))), expected);
  }
  EXPECT_TRUE(rig.engine->is_healthy());
  EXPECT_EQ(rig.engine->stats().epoch, 1u);
}

TEST(Failure, APictureThatCannotBeEncoded) {
  EngineRig rig;
  auto broken = std::make_shared<MediaInput>(*picture(3, 5));
  broken->values.clear();
  broken->rows = 0;
  EXPECT_EQ(rig.run(picture_request("a", 8, {{2, broken}})).ends[0].error_code,
            ErrorCode::invalid_argument);
  const Answer answer = rig.run(picture_request("b", 8, {{2, picture(3, 5)}}));  // the same hash
  EXPECT_EQ(answer.tokens[0].size(), 12u);
  rig.expect_nothing_left();
}

TEST(LostWorkers, TheStreamGoesOnWithTheSameTokens) {
  EngineRig rig;
  const Answer expected = rig.run(text_request("a", some_ids(1, 20), 100));
  {
    const std::lock_guard lock(rig.log.mutex);
    rig.log.lose_at = {rig.log.plans + 1, rig.log.plans + 50};
  }
  EXPECT_EQ(rig.run(text_request("a", some_ids(1, 20), 100)), expected);
  EXPECT_EQ(rig.engine->stats().epoch, 3u);
  EXPECT_EQ(rig.engine->stats().preemptions, 0);
  rig.expect_nothing_left();
}

TEST(LostWorkers, ThreeInAMinuteAreTooMany) {
  EngineRig rig;
  const auto lose_next = [&] {
    const std::lock_guard lock(rig.log.mutex);
    rig.log.lose_at = {rig.log.plans + 1};
  };
  for (int i = 0; i < 4; ++i) {  // but not when they lie apart
    lose_next();
    EXPECT_EQ(rig.run(text_request("a", some_ids(1, 20))).tokens[0].size(), 12u);
    rig.clock.advance_us(40'000'000);
  }
  rig.clock.advance_us(60'000'000);
  {
    const std::lock_guard lock(rig.log.mutex);
    for (uint64_t i = 1; i <= 3; ++i) rig.log.lose_at.insert(rig.log.plans + i);
  }
  const Answer answer = rig.run(text_request("a", some_ids(1, 20)));
  EXPECT_EQ(answer.ends[0].finish, FinishReason::error);
  EXPECT_EQ(answer.ends[0].error_code, ErrorCode::unavailable);
  EXPECT_FALSE(rig.engine->is_healthy());
  EXPECT_THROW(rig.engine->submit(text_request("b", some_ids(1, 20))), Error);
  rig.expect_nothing_left();
}

TEST(LostWorkers, NoNewOnesToBeHad) {
  EngineRig rig;
  {
    const std::lock_guard lock(rig.log.mutex);
    rig.log.lose_at = {3};
    rig.refuses_executors = true;
  }
  const Answer answer = rig.run(text_request("a", some_ids(1, 20)));
  EXPECT_EQ(answer.ends[0].error_code, ErrorCode::unavailable);
  EXPECT_FALSE(rig.engine->is_healthy());
}

TEST(Shutdown, EndsEveryStream) {
  auto rig = std::make_unique<EngineRig>();
  std::vector<std::shared_ptr<EventStream>> streams;
  for (int i = 0; i < 30; ++i)
    streams.push_back(rig->engine->submit(text_request(format("r{}", i), some_ids(1, 20), 170)));
  rig->engine.reset();
  for (const auto& stream : streams) {
    const Answer answer = collect(*stream);
    EXPECT_TRUE(stream->is_finished());
    EXPECT_NE(answer.ends[0].finish, FinishReason::none);
  }
}

}  // namespace
}  // namespace quern
