// SPDX-License-Identifier: Apache-2.0
// Tokens and logits of a request do not depend on company, chunk size, block size, prefix cache,
// preemption or lost workers.
#include <gtest/gtest.h>

#include "engine/engine_rig.h"

namespace quern {
namespace {

// A mixture: lengths, greedy and drawn, shared beginnings, several continuations, pictures.
std::vector<Request> mixture() {
  std::vector<Request> requests;
  for (int i = 0; i < 16; ++i) {
    std::vector<int32_t> ids = some_ids(1, i % 3 == 0 ? 20 : 0);
    for (const int32_t id : some_ids(static_cast<uint64_t>(100 + i), 1 + i * 5 % 37))
      ids.push_back(id);
    Request request = text_request(format("r{}", i), std::move(ids), 5 + i);
    if (i % 2 == 1) {
      request.params.temperature = 0.9;
      request.params.seed = static_cast<uint64_t>(i);
      request.params.frequency_penalty = 0.5;
    }
    if (i % 5 == 4) request.n = 3;
    if (i % 4 == 2) {
      Request with_picture = picture_request(
          request.id, 8 + i, {{3, picture(0.5f, 9)}, {15, picture(static_cast<float>(i), 5)}});
      with_picture.params = request.params;
      request = std::move(with_picture);
    }
    requests.push_back(std::move(request));
  }
  return requests;
}

std::vector<Answer> alone() {
  EngineRig rig;
  std::vector<Answer> answers;
  for (Request& request : mixture()) answers.push_back(rig.run(std::move(request)));
  rig.expect_nothing_left();
  return answers;
}

void expect_same_together(EngineConfig config,
                          const std::string& what,
                          std::set<uint64_t> lose_at = {}) {
  static const std::vector<Answer> expected = alone();
  EngineRig rig(config);
  {
    const std::lock_guard lock(rig.log.mutex);
    rig.log.lose_at = std::move(lose_at);
  }
  std::vector<std::shared_ptr<EventStream>> streams;
  std::vector<int> counts;
  for (Request& request : mixture()) {
    counts.push_back(request.n);
    streams.push_back(rig.engine->submit(std::move(request)));
  }
  for (size_t i = 0; i < streams.size(); ++i)
    EXPECT_EQ(collect(*streams[i], counts[i]), expected[i]) << what << ", request " << i;
  rig.expect_nothing_left();
  const std::lock_guard lock(rig.log.mutex);
  EXPECT_LE(rig.log.most_tokens, static_cast<size_t>(config.max_num_batched_tokens)) << what;
  EXPECT_LE(rig.log.most_sequences, static_cast<size_t>(config.max_num_seqs)) << what;
}

TEST(Invariance, SixteenStreamsEqualTheirSoloRuns) {
  expect_same_together(small_config(), "as they are");
}

TEST(Invariance, ChunkSize) {
  for (const int tokens : {1, 2, 5, 17, 1000}) {
    EngineConfig config = small_config();
    config.max_num_batched_tokens = tokens;
    expect_same_together(config, format("{} tokens a step", tokens));
  }
}

TEST(Invariance, BlockSize) {
  for (const int size : {1, 3, 16, 64}) {
    EngineConfig config = small_config();
    config.block_size = size;
    expect_same_together(config, format("blocks of {}", size));
  }
}

TEST(Invariance, PrefixCache) {
  EngineConfig config = small_config();
  config.enable_prefix_caching = false;
  expect_same_together(config, "without a prefix cache");
}

TEST(Invariance, NumberOfSeats) {
  for (const int seats : {1, 2, 5}) {
    EngineConfig config = small_config();
    config.max_num_seqs = seats;
    expect_same_together(config, format("{} seats", seats));
  }
}

TEST(Invariance, PreemptionInATinyPool) {
  for (const bool has_cache : {true, false})
    for (const int size : {1, 4}) {
      EngineConfig config = small_config();
      config.block_size = size;
      config.num_blocks = 64 / size + 2;
      config.enable_prefix_caching = has_cache;
      expect_same_together(config, format("few blocks of {}, cache {}", size, has_cache));
    }
}

TEST(Invariance, EncodeBudget) {
  for (const int budget : {1, 6, 10}) {
    EngineConfig config = small_config();
    config.encode_budget_tokens = budget;
    expect_same_together(config, format("{} media tokens a step", budget));
  }
}

TEST(Invariance, LostWorkers) {
  for (const uint64_t first : {1, 2, 7, 13})
    expect_same_together(small_config(), format("lost at {}", first), {first, first + 3});
}

TEST(Invariance, PreemptionHappensInTheTinyPool) {
  EngineConfig config = small_config();
  config.num_blocks = 18;
  EngineRig rig(config);
  std::vector<std::shared_ptr<EventStream>> streams;
  for (int i = 0; i < 8; ++i)
    streams.push_back(rig.engine->submit(
        text_request(format("r{}", i), some_ids(static_cast<uint64_t>(i), 9), 50)));
  for (const auto& stream : streams) EXPECT_EQ(collect(*stream).tokens[0].size(), 50u);
  EXPECT_GT(rig.engine->stats().preemptions, 0);
  rig.expect_nothing_left();
}

}  // namespace
}  // namespace quern
