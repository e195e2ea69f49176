// SPDX-License-Identifier: Apache-2.0
#include "nn/expert_memory.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

#include "nn/owned_ctx.h"

namespace quern {
namespace {

constexpr int64_t kSize = 8;

class ExpertMemoryTest : public ::testing::Test {
 protected:
  Expert make(int64_t expert) {
    loaded_.push_back(expert);
    const auto linear = [this] {
      QuantMatrix w;
      w.codes = Tensor::zeros({kSize, kSize}, DType::f32);
      w.code_bits = 32;
      return Linear(ops::pack_weight(owned_.ctx(), {w}), {}, kSize, kSize);
    };
    return {linear(), linear()};
  }
  void take(ExpertMemory& memory, int64_t layer, int64_t expert) {
    memory.take({layer, expert}, one_, [&] { return make(expert); });
  }

  OwnedCtx owned_{{.threads = 1}};
  std::vector<int64_t> loaded_;
  int64_t one_ = make(-1).bytes();
};

TEST_F(ExpertMemoryTest, TheOneChosenLongestAgoGoes) {
  ExpertMemory memory(2 * one_);
  loaded_.clear();
  for (const int64_t e : {0, 1, 0, 2, 0, 1}) take(memory, 0, e);
  EXPECT_EQ(loaded_, (std::vector<int64_t>{0, 1, 2, 1}));
  EXPECT_TRUE(memory.holds({0, 0}) && memory.holds({0, 1}) && !memory.holds({0, 2}));
  EXPECT_EQ(memory.held_bytes(), 2 * one_);
  EXPECT_EQ(memory.loads().count, 4);
  EXPECT_EQ(memory.loads().bytes, 4 * one_);
}

TEST_F(ExpertMemoryTest, LayersHaveTheirOwnExperts) {
  ExpertMemory memory(4 * one_);
  EXPECT_EQ(memory.next_layer(), 0);
  EXPECT_EQ(memory.next_layer(), 1);
  loaded_.clear();
  for (const int64_t layer : {0, 1, 0, 1}) take(memory, layer, 5);
  EXPECT_EQ(loaded_, (std::vector<int64_t>{5, 5}));
}

TEST_F(ExpertMemoryTest, WithoutRoomNothingIsHeldButWhatIsInUse) {
  ExpertMemory memory(one_ - 1);
  const auto used = memory.take({0, 0}, one_, [&] { return make(0); });
  EXPECT_EQ(memory.held_bytes(), 0);
  EXPECT_FALSE(memory.holds({0, 0}));
  EXPECT_EQ(used->bytes(), one_);
}

TEST_F(ExpertMemoryTest, WhatIsInUseOutlivesItsPlace) {
  ExpertMemory memory(one_);
  const auto used = memory.take({0, 0}, one_, [&] { return make(0); });
  take(memory, 0, 1);
  EXPECT_FALSE(memory.holds({0, 0}));
  EXPECT_EQ(used->gate_up.weight()->rows(), kSize);
}

TEST_F(ExpertMemoryTest, AFailedLoadLeavesNothingBehind) {
  ExpertMemory memory(2 * one_);
  take(memory, 0, 0);
  const auto fails = [&] {
    memory.take({0, 1}, one_, []() -> Expert { throw std::runtime_error("damaged"); });
  };
  EXPECT_THROW(fails(), std::runtime_error);
  EXPECT_FALSE(memory.holds({0, 1}));
  EXPECT_EQ(memory.held_bytes(), one_);
  EXPECT_EQ(memory.loads().count, 1);
  take(memory, 0, 1);
  EXPECT_TRUE(memory.holds({0, 0}) && memory.holds({0, 1}));
}

}  // namespace
}  // namespace quern
