// SPDX-License-Identifier: Apache-2.0
// Whisper's cache: the rows of a window stand in front of the text, and neither chunks, company nor
// ranks show in a logit. The golden case holds its numbers (`quern verify`).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/random.h"
#include "models/registry.h"
#include "nn/owned_ctx.h"
#include "nn/sequence_runner.h"
#include "nn/thread_ranks.h"

namespace quern {
namespace {

constexpr int64_t kWindowRows = 1500;

class WhisperModel : public ::testing::Test {
 protected:
  static MediaInput window(uint64_t seed) {
    MediaInput out;
    out.kind = MediaKind::audio;
    out.rows = 2 * kWindowRows;
    out.row_size = 80;
    out.tokens = kWindowRows;
    for (int64_t i = 0; i < out.rows * out.row_size; ++i)
      out.values.push_back(static_cast<float>(uniform(seed, 0, static_cast<uint64_t>(i))) * 2 - 1);
    return out;
  }
  static std::vector<int32_t> ids_of(std::initializer_list<int32_t> text) {
    std::vector<int32_t> ids(kWindowRows, 440);
    ids.insert(ids.end(), text);
    return ids;
  }
  std::unique_ptr<Model> load() { return make_model(Builder(checkpoint_, ctx_.ctx())); }
  // Logits behind every token of the text.
  Tensor logits(const Model& model, std::initializer_list<int32_t> text, int64_t chunk = 0) {
    const std::vector<int32_t> ids = ids_of(text);
    const MediaRows rows{0, to_f32(model.encode(ctx_.ctx(), window_))};
    std::vector<int32_t> wanted;
    for (size_t i = 0; i < text.size(); ++i)
      wanted.push_back(static_cast<int32_t>(kWindowRows) + static_cast<int32_t>(i));
    SequenceRunner runner(model, ctx_.ctx(), static_cast<int64_t>(ids.size()));
    return runner.prefill({ids, {}, 1, std::span(&rows, 1)}, wanted, chunk);
  }

  const std::shared_ptr<const Checkpoint> checkpoint_ =
      open_checkpoint(QUERN_SOURCE_DIR "/tests/golden/whisper");
  OwnedCtx ctx_{{.threads = 2, .isa = probe_topology().isa, .activation = Activation::f32}};
  const MediaInput window_ = window(7);
};

bool are_same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
}

TEST_F(WhisperModel, ChunksDoNotShow) {
  const auto model = load();
  const Tensor whole = logits(*model, {441, 442, 542, 546, 45});
  EXPECT_EQ(whole.dim(0), 5);
  for (const int64_t chunk : {1502, 1500, 700, 64})
    EXPECT_TRUE(are_same(whole, logits(*model, {441, 442, 542, 546, 45}, chunk))) << chunk;
}

TEST_F(WhisperModel, LaterTextDoesNotShowInEarlierLogits) {
  const auto model = load();
  const Tensor longer = logits(*model, {441, 442, 542, 546, 45}),
               shorter = logits(*model, {441, 442});
  EXPECT_TRUE(are_same(longer.slice(0, 0, 2), shorter));
}

TEST_F(WhisperModel, AnyNumberOfRanksAgrees) {
  const Tensor alone = logits(*load(), {441, 442, 542, 546, 45});
  for (const Degrees& degrees : {Degrees{2, 1}, Degrees{3, 1}, Degrees{4, 1}, Degrees{1, 2}}) {
    const ThreadRanks ranks(checkpoint_,
                            {.threads = 1, .isa = ctx_.ctx().isa, .activation = Activation::f32},
                            degrees,
                            [](const Builder& b) { return make_model(b); });
    const Tensor shared = logits(ranks, {441, 442, 542, 546, 45});
    for (int64_t i = 0; i < alone.numel(); ++i)
      ASSERT_NEAR(alone.data<float>()[i], shared.data<float>()[i], 2e-3)
          << degrees.tensor << " x " << degrees.stages;
  }
}

TEST_F(WhisperModel, APromptWithoutARecordingIsRefused) {
  const auto model = load();
  SequenceRunner runner(*model, ctx_.ctx(), 2000);
  const std::vector<int32_t> ids{441, 442, 542};
  const int32_t last = 2;
  EXPECT_THAT(
      [&] {
        runner.prefill({ids, {}, 1, {}}, std::span(&last, 1));
      },
      testing::ThrowsMessage<Error>(testing::HasSubstr("begins with the 1500 rows")));
}

TEST_F(WhisperModel, TextBeyondTheModelsRoomIsRefused) {
  const auto model = load();
  const MediaRows rows{0, to_f32(model->encode(ctx_.ctx(), window_))};
  std::vector<int32_t> ids = ids_of({});
  ids.resize(kWindowRows + 449, 45);
  SequenceRunner runner(*model, ctx_.ctx(), 2000);
  const int32_t last = static_cast<int32_t>(ids.size()) - 1;
  EXPECT_THAT(
      [&] {
        runner.prefill({ids, {}, 1, std::span(&rows, 1)}, std::span(&last, 1));
      },
      testing::ThrowsMessage<Error>(testing::HasSubstr("more than 448 tokens")));
}

TEST_F(WhisperModel, AWindowOfAnotherShapeIsRefused) {
  const auto model = load();
  MediaInput other = window(7);
  other.rows = 2998;
  EXPECT_THAT([&] { model->encode(ctx_.ctx(), other); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("expects 3000 frames of 80")));
}

}  // namespace
}  // namespace quern
