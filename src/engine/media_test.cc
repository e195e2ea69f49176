// SPDX-License-Identifier: Apache-2.0
// Pictures: encoded once, kept until their last token is computed, told apart by content.
#include <gtest/gtest.h>

#include <thread>

#include "engine/engine_rig.h"

namespace quern {
namespace {

TEST(Media, AreEncodedOnceHoweverTheyAreChunked) {
  for (const int tokens : {3, 7, 64}) {
    EngineConfig config = small_config();
    config.max_num_batched_tokens = tokens;
    EngineRig rig(config);
    rig.run(picture_request("a", 10, {{2, picture(1, 20)}, {25, picture(2, 9)}}));
    EXPECT_EQ(rig.model->encoded, 2);
    const std::lock_guard lock(rig.log.mutex);
    EXPECT_TRUE(rig.log.held.empty());
  }
}

TEST(Media, TheSamePictureTwiceIsEncodedOnce) {
  EngineRig rig;
  rig.run(picture_request("a", 10, {{2, picture(1, 20)}, {25, picture(1, 20)}}));
  EXPECT_EQ(rig.model->encoded, 1);
}

TEST(Media, ContinuationsShareTheEncodedRows) {
  for (const bool has_cache : {true, false}) {
    EngineConfig config = small_config();
    config.block_size = 16;
    config.enable_prefix_caching = has_cache;
    EngineRig rig(config);
    Request request = picture_request(
        "a", 4, {{3, picture(1, 40)}});  // the unshared end of the prompt lies in the picture
    request.n = 5;
    request.params.temperature = 1;
    const Answer answer = rig.run(std::move(request));
    for (const auto& hashes : answer.hashes) EXPECT_EQ(hashes[0], answer.hashes[0][0]);
    EXPECT_EQ(rig.model->encoded, 1);
    rig.expect_nothing_left();
    const std::lock_guard lock(rig.log.mutex);
    EXPECT_TRUE(rig.log.held.empty());
  }
}

TEST(Media, ThePrefixCacheTellsPicturesApart) {
  EngineRig rig;
  const auto with = [](float value) { return picture_request("a", 12, {{2, picture(value, 20)}}); };
  const Answer first = rig.run(with(1)), second = rig.run(with(2)), again = rig.run(with(1));
  EXPECT_NE(first.hashes, second.hashes);
  EXPECT_EQ(first, again);
  EXPECT_EQ(second.cached_tokens, 0);
  EXPECT_EQ(again.cached_tokens, 28);
  EXPECT_EQ(rig.model->encoded, 2) << "a picture whose K and V are known needs no tower";
}

TEST(Media, AStepEncodesNoMoreThanItsBudget) {
  auto model = std::make_shared<FakeModel>();
  std::atomic<int> before = 0, most = 0;
  model->before_forward = [&, m = model.get()](const Batch&) {
    most = std::max<int>(most, m->encoded - before);
    before = m->encoded.load();
  };
  EngineConfig config = small_config();
  config.encode_budget_tokens = 10;
  config.max_num_batched_tokens = 1000;
  EngineRig rig(config, model);
  rig.run(picture_request(
      "a",
      10,
      {{1, picture(1, 5)}, {7, picture(2, 5)}, {13, picture(3, 5)}, {19, picture(4, 50)}}));
  EXPECT_EQ(rig.model->encoded, 4);
  EXPECT_EQ(most, 2);
  model->before_forward = nullptr;
}

TEST(Media, AreReleasedWhenTheirRequestIsCancelledMidway) {
  EngineConfig config = small_config();
  config.max_num_batched_tokens = 4;
  EngineRig rig(config);
  const auto stream = rig.engine->submit(picture_request("a", 10, {{2, picture(1, 150)}}));
  while (rig.model->encoded == 0) std::this_thread::yield();
  rig.engine->cancel("a");
  collect(*stream);
  rig.run(text_request("b", some_ids(1, 3)));
  const std::lock_guard lock(rig.log.mutex);
  EXPECT_TRUE(rig.log.held.empty());
}

}  // namespace
}  // namespace quern
