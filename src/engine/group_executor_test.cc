// SPDX-License-Identifier: Apache-2.0
#include "engine/group_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "comm/shm_communicator.h"
#include "engine/engine_rig.h"
#include "engine/fake_workers.h"

namespace quern {
namespace {

using testing::HasSubstr;

StepPlan plan_of(std::vector<int32_t> tokens, uint64_t step = 1) {
  StepPlan plan;
  plan.epoch = 1;
  plan.step = step;
  Batch& b = plan.batch;
  const auto count = static_cast<int32_t>(tokens.size());
  b.block_size = 4;
  b.blocks_per_row = (count + 3) / 4;
  for (int32_t i = 0; i < count; ++i) {
    b.positions.push_back(i);
    b.slots.push_back(i);
  }
  for (int32_t i = 0; i < b.blocks_per_row; ++i) b.block_tables.push_back(i);
  b.tokens = std::move(tokens);
  b.offsets = {0, count};
  b.context_lengths = {count};
  b.sample_rows = {count - 1};
  return plan;
}

StepResult run(Executor& executor, StepPlan plan) {
  executor.submit(std::move(plan));
  StepResult result;
  EXPECT_TRUE(executor.wait(result, 10'000));
  return result;
}

// The Error that a step of the group ends with.
Error failure_of(Executor& executor, StepPlan plan) {
  try {
    run(executor, std::move(plan));
  } catch (const Error& e) {
    return e;
  }
  ADD_FAILURE() << "the step succeeded";
  return Error(ErrorCode::internal, "");
}

TEST(Group, AnswersAsOneRankDoes) {
  FakeCrew crew(3);
  const auto group = crew.hire_ready();
  const StepResult first = run(*group, plan_of({1, 2, 3, 4, 5}));
  EXPECT_EQ(first.rows.size(), size_t{FakeModel::kVocab});
  EXPECT_EQ(first.step, 1u);
  EXPECT_EQ(run(*group, plan_of({1, 2, 3, 4, 5}, 2)).rows, first.rows);
  for (int rank = 0; rank < 3; ++rank) EXPECT_EQ(crew.worker(rank)->model->steps, 2);
  EXPECT_EQ(group->workers().size(), 3u);
  group->check();
}

TEST(Group, WhatAllThrowFailsTheStepAlone) {
  FakeCrew crew(2);
  const auto group = crew.hire_ready();
  const Error error = failure_of(*group, plan_of({1, 2, FakeModel::kVocab}));
  EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
  EXPECT_THAT(error.what(), HasSubstr("token id 97"));
  EXPECT_EQ(run(*group, plan_of({1, 2, 3}, 2)).step, 2u);
}

TEST(Group, WhoFailsAloneIsLost) {
  FakeCrew crew(3);
  crew.prepare = [](int rank, FakeWorker& worker) {
    if (rank == 1) worker.model->before_forward = [](const Batch&) { throw std::bad_alloc(); };
  };
  const auto group = crew.hire_ready();
  const Error error = failure_of(*group, plan_of({1, 2, 3}));
  EXPECT_EQ(error.code(), ErrorCode::unavailable);
  EXPECT_THAT(error.what(), HasSubstr("rank 1 (thread 1) is lost: it failed alone: step: out of"));
  EXPECT_THROW(group->check(), Error);
  EXPECT_THROW(group->submit(plan_of({1}, 2)), Error);
}

TEST(Group, ADeadWorkerIsNamed) {
  FakeCrew crew(3);
  crew.prepare = [&](int rank, FakeWorker& worker) {
    if (rank == 2)
      worker.model->before_forward = [wire = worker.wire](const Batch&) { wire->close(); };
  };
  const auto group = crew.hire_ready();
  const Error error = failure_of(*group, plan_of({1, 2, 3}));
  EXPECT_EQ(error.code(), ErrorCode::unavailable);
  EXPECT_THAT(error.what(), HasSubstr("rank 2 (thread 2) is lost: its wire was cut"));
}

TEST(Group, NeighboursThatComplainAreNotBlamed) {
  FakeCrew crew(3);
  crew.prepare = [&](int rank, FakeWorker& worker) {
    worker.model->before_forward = [rank, wire = worker.wire](const Batch&) {
      if (rank < 2) fail(ErrorCode::unavailable, "rank 2 did not come");
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      wire->close();
    };
  };
  const auto group = crew.hire_ready();
  EXPECT_THAT(failure_of(*group, plan_of({1})).what(), HasSubstr("rank 2 (thread 2) is lost"));
}

TEST(Group, AStoppedWorkerIsNoticed) {
  FakeCrew crew(2);
  crew.prepare = [](int rank, FakeWorker& worker) { worker.is_deaf = rank == 1; };
  const auto group = crew.hire({.epoch = 1, .ping_ms = 5, .most_pings = 3});
  try {
    group->ask({"job", "job"}, 10'000);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::unavailable);
    EXPECT_THAT(e.what(), HasSubstr("rank 1 (thread 1) is lost: it gave no sign of life"));
  }
}

TEST(Group, AStepThatGetsNoFurtherIsLost) {
  FakeCrew crew(2);
  std::atomic<bool> may_go = false;
  crew.prepare = [&](int rank, FakeWorker& worker) {
    if (rank == 0) worker.model->before_forward = [&](const Batch&) { may_go.wait(false); };
  };
  const auto group = crew.hire_ready({.epoch = 1, .timeout_ms = 50, .ping_ms = 5});
  const Error error = failure_of(*group, plan_of({1, 2, 3}));
  EXPECT_EQ(error.code(), ErrorCode::unavailable);
  EXPECT_THAT(error.what(), HasSubstr("rank 0 (thread 0) is lost: step 1 got no further"));
  may_go = true;
  may_go.notify_all();
}

TEST(Group, ALossIsTold) {
  FakeCrew crew(2);
  const auto group = crew.hire_ready();
  std::atomic<bool> is_told = false;
  group->set_on_loss([&] {
    is_told = true;
    is_told.notify_all();
  });
  crew.worker(0)->wire->close();
  is_told.wait(false);
  EXPECT_THROW(group->check(), Error);
}

TEST(Group, WhoRefusesItsJobSaysWhy) {
  FakeCrew crew(3);
  crew.prepare = [](int rank, FakeWorker& worker) {
    if (rank == 0) worker.refuses = Error(ErrorCode::unavailable, "rank 1 did not come");
    if (rank == 1) worker.refuses = Error(ErrorCode::not_found, "no such model");
  };
  const auto group = crew.hire();
  try {
    group->ask({"a", "b", "c"}, 10'000);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::not_found);
    EXPECT_STREQ(e.what(), "rank 1 (thread 1): no such model");
  }
}

TEST(Group, AStartCanBeBrokenOff) {
  FakeCrew crew(1);
  crew.prepare = [](int, FakeWorker& worker) { worker.is_deaf = true; };
  const std::atomic<bool> should_stop = true;
  const auto group = crew.hire({.epoch = 1, .should_stop = &should_stop});
  EXPECT_THROW(group->ask({"job"}, 10'000), Error);
  const auto other = crew.hire({.epoch = 1});
  EXPECT_THROW(other->ask({"job"}, 1), Error);  // and has a deadline
}

// What ranks that meet in a step do about a picture that only one of them can encode.
TEST(StepRunner, WhatOneRankCannotPrepareNoRankBegins) {
  const int fd = make_shm_region(2);
  std::vector<std::string> said(2);
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < 2; ++rank)
    ranks.emplace_back([&, rank] {
      const auto group = open_shm_communicator(fd, rank, 2, 10'000);
      Arena arena(Device::cpu(), 1 << 20);
      Ctx ctx;
      ctx.device = Device::cpu();
      ctx.arena = &arena;
      ctx.ranks = group.get();
      const auto model = std::make_shared<FakeModel>();
      auto kv = std::make_shared<KvCache>(model->kv_spec(), 10, 4, Device::cpu());
      StepRunner runner({model, ctx, std::move(kv)});
      StepPlan plan = plan_of({1, 2, 3});
      auto media = std::make_shared<MediaInput>(*picture(3, 2));
      if (rank == 1) media->values.clear();
      plan.encode = {{media->hash, media}};
      try {
        runner.run(plan);
      } catch (const Error& e) {
        said[static_cast<size_t>(rank)] = e.what();
      }
      EXPECT_EQ(model->steps, 0);
      plan = plan_of({1, 2, 3}, 2);
      EXPECT_EQ(runner.run(plan).step, 2u);
    });
  for (std::thread& rank : ranks) rank.join();
  close(fd);
  EXPECT_EQ(said[0], "step: another rank could not prepare it");
  EXPECT_EQ(said[1], "fake: a medium without values");
}

TEST(Ranks, MeetInPairs) {
  const int fd = make_shm_region(3);
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < 3; ++rank)
    ranks.emplace_back([&, rank] {
      const auto group = open_shm_communicator(fd, rank, 3, 10'000);
      std::atomic<uint64_t> count = 0;
      CountingCommunicator counted(*group, count);
      meet_all(counted, "ranks");
      EXPECT_EQ(count, 5u);  // two words with each of two others, and one barrier
    });
  for (std::thread& rank : ranks) rank.join();
  const auto alone = open_shm_communicator(fd, 1, 3, 20);
  try {
    meet_all(*alone, "tensor ranks");
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("tensor ranks 0 and 1 cannot talk to each other: rank 0"));
  }
  close(fd);
}

TEST(WorkerMessage, Damage) {
  EXPECT_THROW(unpack(""), Error);
  EXPECT_THROW(unpack("\x09"), Error);
  const std::string failure = pack(WorkerFailure{3, ErrorCode::exhausted, "no memory"});
  const WorkerFailure parsed = parse_failure(unpack(failure).body);
  EXPECT_EQ(parsed.step, 3u);
  EXPECT_EQ(parsed.code, ErrorCode::exhausted);
  EXPECT_EQ(parsed.text, "no memory");
  const std::string pulse = pack(WorkerPulse{7, 8});
  EXPECT_EQ(parse_pulse(unpack(pulse).body).memory_bytes, 8);
  const std::string result = pack(StepResult{1, 2, 3, {1.f, 2.f, 3.f}, 5});
  EXPECT_EQ(parse_result(unpack(result).body).rows, (std::vector<float>{1, 2, 3}));
  const auto cut = [](const std::string& bytes, size_t length) {
    return std::string_view(bytes).substr(1, length - 1);
  };
  for (size_t length = 1; length < failure.size(); ++length)
    EXPECT_THROW(parse_failure(cut(failure, length)), Error);
  for (size_t length = 1; length < pulse.size(); ++length)
    EXPECT_THROW(parse_pulse(cut(pulse, length)), Error);
  for (size_t length = 1; length < result.size(); ++length)
    EXPECT_THROW(parse_result(cut(result, length)), Error);
}

// An engine over fake workers.
class GroupRig {
 public:
  explicit GroupRig(EngineConfig config = small_config()) {
    config.on_workers_gone = [this] { is_gone = true; };
    engine = std::make_unique<Engine>(
        config, [this](uint64_t epoch) { return crew.hire_ready({.epoch = epoch}); }, clock);
  }
  Answer run(Request request) { return collect(*engine->submit(std::move(request))); }
  void wait_for_epoch(uint64_t epoch) {
    while (engine->stats().epoch < epoch || engine->is_recovering()) std::this_thread::yield();
  }

  SharedClock clock;
  FakeCrew crew{3};
  std::atomic<bool> is_gone = false;
  std::unique_ptr<Engine> engine;
};

Answer undisturbed(int tokens) {
  GroupRig rig;
  return rig.run(text_request("a", some_ids(1, 20), tokens));
}

TEST(GroupEngine, StreamsGoOnWithTheSameTokens) {
  const Answer expected = undisturbed(60);
  GroupRig rig;
  const auto stream = rig.engine->submit(text_request("a", some_ids(1, 20), 60));
  TokenEvent event;
  ASSERT_TRUE(stream->pop(event, 20'000));
  Answer answer;
  answer.tokens = {{event.token}};
  answer.hashes = {{event.logits_hash}};
  rig.crew.worker(1)->wire->close();
  const Answer rest = collect(*stream);
  answer.tokens[0].insert(answer.tokens[0].end(), rest.tokens[0].begin(), rest.tokens[0].end());
  answer.hashes[0].insert(answer.hashes[0].end(), rest.hashes[0].begin(), rest.hashes[0].end());
  EXPECT_EQ(answer.tokens, expected.tokens);
  EXPECT_EQ(answer.hashes, expected.hashes);
  const EngineStats stats = rig.engine->stats();
  EXPECT_EQ(stats.epoch, 2u);
  EXPECT_EQ(stats.losses, 1);
  EXPECT_THAT(stats.last_loss, HasSubstr("rank 1 (thread 1) is lost"));
  EXPECT_EQ(stats.workers.size(), 3u);
}

TEST(GroupEngine, WorkersThatAreLostWhileIdleAreReplacedAtOnce) {
  GroupRig rig;
  rig.crew.worker(2)->wire->close();
  rig.wait_for_epoch(2);
  EXPECT_TRUE(rig.engine->is_healthy());
  EXPECT_EQ(rig.run(text_request("a", some_ids(1, 20), 60)), undisturbed(60));
}

TEST(GroupEngine, RunningRequestsFailIfAsked) {
  EngineConfig config = small_config();
  config.resumes_after_loss = false;
  GroupRig rig(config);
  const auto stream = rig.engine->submit(text_request("a", some_ids(1, 20), 150));
  TokenEvent event;
  ASSERT_TRUE(stream->pop(event, 20'000));
  rig.crew.worker(0)->wire->close();
  const Answer answer = collect(*stream);
  EXPECT_EQ(answer.ends[0].finish, FinishReason::error);
  EXPECT_EQ(answer.ends[0].error_code, ErrorCode::unavailable);
  EXPECT_EQ(rig.run(text_request("a", some_ids(1, 20), 60)), undisturbed(60));
}

TEST(GroupEngine, TooManyLossesAreTold) {
  GroupRig rig;
  for (uint64_t epoch = 1; epoch <= 3; ++epoch) {
    rig.wait_for_epoch(epoch);
    rig.crew.worker(0)->wire->close();
  }
  while (!rig.is_gone) std::this_thread::yield();
  EXPECT_FALSE(rig.engine->is_healthy());
  EXPECT_FALSE(rig.engine->is_recovering());
  EXPECT_THROW(rig.engine->submit(text_request("a", some_ids(1, 20))), Error);
}

}  // namespace
}  // namespace quern
