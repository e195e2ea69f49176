// SPDX-License-Identifier: Apache-2.0
#include "engine/local_executor.h"

#include <gtest/gtest.h>

#include "engine/fake_model.h"

namespace quern {
namespace {

class LocalExecutorTest : public testing::Test {
 protected:
  LocalExecutorTest() {
    ctx_.device = Device::cpu();
    ctx_.arena = &arena_;
    executor_ = make_local_executor(
        5, {model_, ctx_, std::make_shared<KvCache>(model_->kv_spec(), 4, 4, Device::cpu())});
  }

  // One sequence of two tokens at the beginning of block 1.
  static StepPlan plan() {
    StepPlan p;
    p.epoch = 5;
    p.batch.tokens = {3, 4};
    p.batch.positions = {0, 1};
    p.batch.offsets = {0, 2};
    p.batch.context_lengths = {2};
    p.batch.block_size = 4;
    p.batch.blocks_per_row = 1;
    p.batch.block_tables = {1};
    p.batch.slots = {4, 5};
    p.batch.sample_rows = {1};
    return p;
  }
  static EncodeTask task() {
    auto media = std::make_shared<MediaInput>();
    media->values = {7};
    media->hash = {1, 1};
    media->tokens = 3;
    return {media->hash, media};
  }
  StepResult run(StepPlan p) {
    executor_->submit(std::move(p));
    StepResult result;
    EXPECT_TRUE(executor_->wait(result, 10'000));
    return result;
  }
  ErrorCode failure(StepPlan p) {
    try {
      run(std::move(p));
    } catch (const Error& e) {
      return e.code();
    }
    ADD_FAILURE() << "did not throw";
    return ErrorCode::cancelled;
  }

  Arena arena_{Device::cpu(), 1 << 16};
  Ctx ctx_;
  std::shared_ptr<FakeModel> model_ = std::make_shared<FakeModel>();
  std::unique_ptr<Executor> executor_;
};

TEST_F(LocalExecutorTest, AnswersWithRowsOfLogits) {
  StepPlan p = plan();
  p.step = 9;
  const StepResult result = run(std::move(p));
  EXPECT_EQ(result.epoch, 5u);
  EXPECT_EQ(result.step, 9u);
  EXPECT_EQ(result.rows.size(), static_cast<size_t>(FakeModel::kVocab));
  EXPECT_EQ(arena_.live_bytes(), 0);
}

TEST_F(LocalExecutorTest, WaitingWithoutAPlanTimesOut) {
  StepResult result;
  EXPECT_FALSE(executor_->wait(result, 0));
}

TEST_F(LocalExecutorTest, APlanWithoutTokensDoesTheRest) {
  StepPlan p;
  p.epoch = 5;
  p.batch.block_size = 4;
  p.encode = {task()};
  EXPECT_TRUE(run(std::move(p)).rows.empty());
  EXPECT_EQ(model_->encoded, 1);
  EXPECT_EQ(model_->steps, 0);
}

TEST_F(LocalExecutorTest, KeepsEncodedRowsUntilTheyAreReleased) {
  StepPlan p = plan();
  p.encode = {task()};
  p.media = {{{1, 1}, 1, 0, 2}};
  const StepResult first = run(p);
  p.encode.clear();
  EXPECT_EQ(run(p).rows, first.rows);
  p.release = {{1, 1}, {2, 2}};
  EXPECT_EQ(run(p).rows, first.rows);
  EXPECT_EQ(failure(p), ErrorCode::internal);
  EXPECT_EQ(arena_.live_bytes(), 0) << "rows that outlive a step do not lie in its scratch";
  EXPECT_NE(run(plan()).rows, first.rows);
}

TEST_F(LocalExecutorTest, RefusesWhatWouldReadOrWriteOutOfBounds) {
  StepPlan p = plan();
  p.batch.tokens[0] = FakeModel::kVocab;
  EXPECT_EQ(failure(p), ErrorCode::invalid_argument);
  p = plan();
  p.batch.slots[1] = 16;
  EXPECT_EQ(failure(p), ErrorCode::invalid_argument);
  p = plan();
  p.batch.block_tables[0] = 4;
  EXPECT_EQ(failure(p), ErrorCode::invalid_argument);
  p = plan();
  p.batch.block_size = 8;
  EXPECT_EQ(failure(p), ErrorCode::invalid_argument);
  p = plan();
  p.batch.axes = 2;
  EXPECT_EQ(failure(p), ErrorCode::invalid_argument);
  p = plan();
  p.encode = {task()};
  p.media = {{{1, 1}, 2, 0, 2}};
  EXPECT_EQ(failure(p), ErrorCode::internal);
  EXPECT_EQ(run(plan()).rows.size(), static_cast<size_t>(FakeModel::kVocab));
}

}  // namespace
}  // namespace quern
