// SPDX-License-Identifier: Apache-2.0
#include "engine/step_plan.h"

#include <gtest/gtest.h>

#include <random>

#include "base/error.h"

namespace quern {
namespace {

StepPlan full_plan() {
  StepPlan p;
  p.epoch = 3;
  p.step = 77;
  p.batch.tokens = {5, 6, 7, 8};
  p.batch.axes = 3;
  p.batch.positions = {0, 1, 2, 9, 0, 1, 1, 9, 0, 1, 2, 9};
  p.batch.offsets = {0, 3, 4};
  p.batch.context_lengths = {3, 10};
  p.batch.block_size = 4;
  p.batch.blocks_per_row = 3;
  p.batch.block_tables = {4, -1, -1, 0, 2, 1};
  p.batch.slots = {16, 17, 18, 5};
  p.batch.sample_rows = {2, 3};
  const auto media = std::make_shared<MediaInput>();
  media->kind = MediaKind::video;
  media->hash = {1, 2};
  media->values = {0.5f, -1, 2, 3, 4, 5};
  media->rows = 3;
  media->row_size = 2;
  media->grid_t = 2;
  media->grid_h = media->grid_w = 4;
  media->seconds_per_grid = 0.25;
  media->tokens = 2;
  p.encode = {{media->hash, media}};
  p.media = {{{1, 2}, 1, 0, 2}};
  p.release = {{7, 8}, {9, 10}};
  return p;
}

TEST(StepPlan, ComesBackWhole) {
  const StepPlan p = full_plan();
  const std::string bytes = p.serialize();
  const StepPlan q = StepPlan::parse(bytes);
  EXPECT_EQ(q.serialize(), bytes);
  EXPECT_EQ(q.epoch, 3u);
  EXPECT_EQ(q.step, 77u);
  EXPECT_EQ(q.batch.positions, p.batch.positions);
  EXPECT_EQ(q.batch.block_tables, p.batch.block_tables);
  EXPECT_EQ(q.batch.axes, 3);
  EXPECT_EQ(q.encode[0].media->values, p.encode[0].media->values);
  EXPECT_EQ(q.encode[0].media->seconds_per_grid, 0.25);
  EXPECT_EQ(q.media[0].source_begin, 1);
  EXPECT_EQ(q.release[1], (Hash128{9, 10}));
}

TEST(StepPlan, RefusesEveryCutAndAnyRest) {
  const std::string bytes = full_plan().serialize();
  for (size_t length = 0; length < bytes.size(); ++length)
    EXPECT_THROW(StepPlan::parse(bytes.substr(0, length)), Error);
  EXPECT_THROW(StepPlan::parse(bytes + "x"), Error);
}

// What parse lets through has indices that are in range of the plan itself.
TEST(StepPlan, MutatedBytesAreRefusedOrHarmless) {
  const std::string bytes = full_plan().serialize();
  std::mt19937 random(1);
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string mutated = bytes;
    for (uint32_t i = 0; i <= random() % 3; ++i)
      mutated[random() % mutated.size()] = static_cast<char>(random());
    try {
      const StepPlan p = StepPlan::parse(mutated);
      for (const int32_t row : p.batch.sample_rows) ASSERT_LT(row, p.batch.token_count());
      for (const MediaUse& use : p.media)
        ASSERT_LE(int64_t{use.first_row} + use.count, p.batch.token_count());
      ASSERT_EQ(p.batch.block_tables.size(),
                static_cast<size_t>(p.batch.blocks_per_row * p.batch.sequence_count()));
    } catch (const Error& e) {
      ASSERT_EQ(e.code(), ErrorCode::data_loss);
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
}

TEST(StepPlan, ContradictionsAreRefused) {
  const auto refused = [](const std::function<void(StepPlan&)>& change) {
    StepPlan p = full_plan();
    change(p);
    try {
      StepPlan::parse(p.serialize());
    } catch (const Error& e) {
      return e.code() == ErrorCode::data_loss;
    }
    return false;
  };
  EXPECT_FALSE(refused([](StepPlan&) {}));
  EXPECT_TRUE(refused([](StepPlan& p) { p.batch.positions.pop_back(); }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.batch.offsets = {0, 4, 4}; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.batch.offsets = {1, 3, 4}; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.batch.context_lengths[0] = 2; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.batch.context_lengths[1] = 13; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.batch.block_tables[5] = -1; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.batch.slots[0] = -2; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.batch.sample_rows[0] = 4; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.batch.block_size = 0; }));
  EXPECT_TRUE(refused([](StepPlan& p) { p.media[0].first_row = 3; }));
  EXPECT_TRUE(refused([](StepPlan& p) {
    auto media = std::make_shared<MediaInput>(*p.encode[0].media);
    media->rows = 4;
    p.encode[0].media = media;
  }));
}

}  // namespace
}  // namespace quern
