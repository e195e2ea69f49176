// SPDX-License-Identifier: Apache-2.0
#include "engine/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/engine_rig.h"
#include "nn/owned_ctx.h"

namespace quern {
namespace {

constexpr int64_t kMega = 1 << 20;

EngineConfig planned_config() {
  EngineConfig config = small_config();
  config.num_blocks = 0;
  return config;
}

MemoryPlan plan_for(const FakeModel& model,
                    const EngineConfig& config,
                    const MediaInput* largest,
                    int64_t budget) {
  OwnedCtx ctx = OwnedCtx::meta(Isa::scalar);
  return plan_memory({model, ctx.ctx(), model.kv_spec(), largest}, config, budget);
}

TEST(MemoryPlan, HasTheSizesThatAreAllocated) {
  const FakeModel model;
  const EngineConfig config = planned_config();
  const auto largest = picture(1, 1000);
  const MemoryPlan plan = plan_for(model, config, largest.get(), kMega);
  EXPECT_EQ(plan.weight_bytes, 1000);
  EXPECT_EQ(plan.arena_bytes, config.most_rows() * FakeModel::kVocab * 4)
      << "the logits of a full step outweigh a picture's rows";
  EXPECT_EQ(plan.media_bytes, (config.encode_budget_tokens + 2000) * 4);
  EXPECT_EQ(plan.logits_bytes, 2 * config.most_rows() * FakeModel::kVocab * 4);
  EXPECT_EQ(plan.block_bytes, 4 * 2 * 4);
  EXPECT_EQ(plan.num_blocks, 16 * 50) << "more would never be used";
  KvCache kv(model.kv_spec(), plan.num_blocks, config.block_size, Device::cpu());
  EXPECT_EQ(kv.bytes(), plan.kv_bytes);
  EXPECT_EQ(plan_for(model, config, nullptr, kMega).media_bytes, 0);
  EXPECT_THAT(plan.table(), testing::HasSubstr("800 blocks, 3200 tokens"));
}

TEST(MemoryPlan, TakesAsManyBlocksAsFit) {
  const FakeModel model;
  const EngineConfig config = planned_config();
  const MemoryPlan plenty = plan_for(model, config, nullptr, kMega);
  const int64_t fixed = plenty.total_bytes() - plenty.kv_bytes;
  const MemoryPlan tight = plan_for(model, config, nullptr, fixed + 60 * plenty.block_bytes + 5);
  EXPECT_EQ(tight.num_blocks, 60);
  EXPECT_LE(tight.total_bytes(), tight.budget_bytes);
}

TEST(MemoryPlan, SaysWhatWouldFit) {
  const FakeModel model;
  EngineConfig config = planned_config();
  const MemoryPlan plenty = plan_for(model, config, nullptr, kMega);
  const int64_t fixed = plenty.total_bytes() - plenty.kv_bytes;
  const auto message = [&](int64_t budget) {
    try {
      plan_for(model, config, nullptr, budget);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::exhausted);
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(message(fixed + 50 * plenty.block_bytes), "");
  EXPECT_THAT(message(fixed + 49 * plenty.block_bytes),
              testing::HasSubstr("max_model_len of at most 196 would fit"));
  EXPECT_THAT(message(fixed - 1), testing::HasSubstr("max_num_batched_tokens"));
  config.num_blocks = 300;
  EXPECT_EQ(message(fixed + 300 * plenty.block_bytes), "");
  EXPECT_THAT(message(fixed + 299 * plenty.block_bytes),
              testing::HasSubstr("299 blocks would fit"));
}

}  // namespace
}  // namespace quern
