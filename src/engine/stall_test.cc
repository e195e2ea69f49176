// SPDX-License-Identifier: Apache-2.0
// Steps that do not return: nobody waits for them for ever.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "engine/engine_rig.h"

namespace quern {
namespace {

constexpr int32_t kHangToken = 81;

// A step with kHangToken in it stays until it is let go.
class Trap {
 public:
  explicit Trap(FakeModel& model) {
    model.before_forward = [this](const Batch& batch) {
      if (is_open_ ||
          std::find(batch.tokens.begin(), batch.tokens.end(), kHangToken) == batch.tokens.end())
        return;
      is_caught_.release();
      let_go_.acquire();
    };
  }
  void await_catch() { is_caught_.acquire(); }
  void open() {
    is_open_ = true;
    let_go_.release();
  }

 private:
  std::binary_semaphore is_caught_{0}, let_go_{0};
  std::atomic<bool> is_open_ = false;
};

EngineConfig guarded_config() {
  EngineConfig config = small_config();
  config.step_timeout_us = 5'000'000;
  return config;
}

struct Scene {
  explicit Scene(const EngineConfig& config)
      : model(std::make_shared<FakeModel>()), trap(*model), rig(config, model) {}
  ~Scene() { rig.engine.reset(); }  // a step may be under way in what the rig owns
  void await_end_of_stall() {
    for (int i = 0; i < 20'000 && rig.engine->is_stalled(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ASSERT_FALSE(rig.engine->is_stalled());
  }

  std::shared_ptr<FakeModel> model;
  Trap trap;
  EngineRig rig;
};

TEST(Stall, FailsEveryRequestAndTakesNoneUntilTheStepReturns) {
  Scene scene(guarded_config());
  Engine& engine = *scene.rig.engine;
  const Answer expected = scene.rig.run(text_request("good", some_ids(1, 9)));
  const auto hung = engine.submit(text_request("hung", {1, kHangToken}));
  scene.trap.await_catch();
  const auto waiting = engine.submit(text_request("waiting", some_ids(1, 9)));
  EXPECT_FALSE(engine.is_stalled());
  scene.rig.clock.advance_us(6'000'000);
  for (const auto& stream : {hung, waiting}) {
    const Answer answer = collect(*stream);
    EXPECT_EQ(answer.ends[0].finish, FinishReason::error);
    EXPECT_EQ(answer.ends[0].error_code, ErrorCode::unavailable);
    EXPECT_THAT(answer.ends[0].error, testing::HasSubstr("has not returned"));
  }
  EXPECT_TRUE(engine.is_stalled());
  EXPECT_TRUE(engine.is_healthy());
  engine.cancel("hung");
  EXPECT_THROW(engine.submit(text_request("late", some_ids(1, 9))), Error);
  EXPECT_TRUE(engine.stats().is_stalled);
  EXPECT_EQ(engine.stats().stalls, 1);
  EXPECT_GE(engine.stats().last_step_age_us, 6'000'000);
  scene.trap.open();
  scene.await_end_of_stall();
  EXPECT_EQ(scene.rig.run(text_request("good", some_ids(1, 9))), expected);
  EXPECT_FALSE(engine.stats().is_stalled);
  EXPECT_EQ(engine.stats().epoch, 1u);
  scene.rig.expect_nothing_left();
}

TEST(Stall, AStepInTimeIsNoStall) {
  Scene scene(guarded_config());
  const auto slow = scene.rig.engine->submit(text_request("slow", {1, kHangToken}));
  scene.trap.await_catch();
  scene.rig.clock.advance_us(5'000'000);
  scene.trap.open();
  EXPECT_EQ(collect(*slow).ends[0].finish, FinishReason::length);
  EXPECT_EQ(scene.rig.engine->stats().stalls, 0);
}

TEST(Stall, CancelAndDeadlineReachARequestWhoseStepIsUnderWay) {
  Scene scene(guarded_config());
  Engine& engine = *scene.rig.engine;
  const Answer expected = scene.rig.run(text_request("good", some_ids(1, 9), 40));
  const auto good = engine.submit(text_request("good", some_ids(1, 9), 40));
  TokenEvent first;
  ASSERT_TRUE(good->pop(first, 20'000));
  Request late = text_request("late", {2, kHangToken, 3});
  late.deadline_us = scene.rig.clock.now_us() + 1'000'000;
  const auto late_stream = engine.submit(std::move(late));
  scene.trap.await_catch();
  const auto cancelled = engine.submit(text_request("cancelled", some_ids(4, 9)));
  engine.cancel("cancelled");
  EXPECT_EQ(collect(*cancelled).ends[0].finish, FinishReason::cancelled);
  scene.rig.clock.advance_us(2'000'000);
  EXPECT_THAT(collect(*late_stream).ends[0].error, testing::HasSubstr("deadline"));
  scene.trap.open();
  Answer rest = collect(*good);
  rest.tokens[0].insert(rest.tokens[0].begin(), first.token);
  EXPECT_EQ(rest.tokens[0], expected.tokens[0]);
  scene.rig.expect_nothing_left();
}

TEST(Stall, EveryRequestHasTheServersDeadline) {
  EngineConfig config = small_config();
  config.request_timeout_us = 3'000'000;
  Scene scene(config);
  const auto stream = scene.rig.engine->submit(text_request("a", {1, kHangToken}, 100));
  scene.trap.await_catch();
  scene.rig.clock.advance_us(4'000'000);
  EXPECT_THAT(collect(*stream).ends[0].error, testing::HasSubstr("deadline"));
  scene.trap.open();
}

TEST(Stall, TheServerCanBeStoppedInTheMidst) {
  auto scene = std::make_unique<Scene>(guarded_config());
  const auto stream = scene->rig.engine->submit(text_request("a", {1, kHangToken}));
  scene->trap.await_catch();
  std::thread stopper([&] { scene->rig.engine.reset(); });
  EXPECT_EQ(collect(*stream).ends[0].finish, FinishReason::error);  // before the step returns
  scene->trap.open();
  stopper.join();
}

// Never answers, and can be thrown away.
class SilentExecutor : public Executor {
 public:
  void submit(StepPlan) override {}
  bool wait(StepResult&, int) override {
    std::this_thread::yield();
    return false;
  }
  bool is_replaceable() const override { return true; }
};

TEST(Stall, WorkersThatCanBeReplacedAre) {
  SharedClock clock;
  auto model = std::make_shared<FakeModel>();
  Arena arena(Device::cpu(), 1 << 20);
  Ctx ctx;
  ctx.device = Device::cpu();
  ctx.arena = &arena;
  const EngineConfig config = guarded_config();
  Engine engine(
      config,
      [&](uint64_t epoch) -> std::unique_ptr<Executor> {
        if (epoch == 1) return std::make_unique<SilentExecutor>();
        return make_local_executor(
            epoch,
            {model,
             ctx,
             std::make_shared<KvCache>(
                 model->kv_spec(), config.num_blocks, config.block_size, Device::cpu())});
      },
      clock);
  const auto stream = engine.submit(text_request("a", some_ids(1, 9)));
  while (engine.stats().epoch == 1) {
    clock.advance_us(1'000'000);
    std::this_thread::yield();
  }
  EngineRig rig;
  EXPECT_EQ(collect(*stream), rig.run(text_request("a", some_ids(1, 9))));
  EXPECT_EQ(engine.stats().epoch, 2u);
  EXPECT_THAT(engine.stats().last_loss, testing::HasSubstr("has not returned"));
  EXPECT_EQ(engine.stats().stalls, 0);
}

}  // namespace
}  // namespace quern
