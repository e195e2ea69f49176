// SPDX-License-Identifier: Apache-2.0
// What holds of the flow network beside its numbers, which the golden case has (`quern verify`):
// branches do not see each other, threads do not show, a stream keeps what it has settled.
#include "models/glm_tts/flow.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/error_of.h"
#include "base/random.h"
#include "models/glm_tts/flow_mask.h"
#include "models/glm_tts/flow_stream.h"
#include "nn/owned_ctx.h"

namespace quern {
namespace {

constexpr FlowBranch kGuided[] = {FlowBranch::guided}, kFree[] = {FlowBranch::free},
                     kBoth[] = {FlowBranch::guided, FlowBranch::free};
constexpr int64_t kPromptFrames = 17;

bool are_same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
}

std::vector<float> deviates(size_t count, uint64_t seed) {
  std::vector<float> out(count);
  for (size_t i = 0; i < count; ++i) out[i] = static_cast<float>(normal_deviate(seed, 9, i));
  return out;
}

class FlowNetwork : public ::testing::Test {
 protected:
  static OwnedCtx::Options options(int threads) {
    return {.threads = threads, .isa = probe_topology().isa};
  }
  FlowInput input() const { return {prompt_, tokens_, mel_, speaker_}; }

  OwnedCtx ctx_{options(2)};
  const std::shared_ptr<const Checkpoint> checkpoint_ =
      open_checkpoint(QUERN_SOURCE_DIR "/tests/golden/glm_tts_flow/flow/flow.safetensors");
  const FlowModel model_{Builder(checkpoint_, ctx_.ctx())};
  std::vector<int32_t> prompt_{3, 1, 4, 1, 5, 9, 2, 6}, tokens_{5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4};
  std::vector<float> mel_ = deviates(kPromptFrames * 80, 1), speaker_ = deviates(192, 2);
};

TEST_F(FlowNetwork, SizesAreThoseOfTheFile) {
  const FlowSizes& s = model_.sizes();
  EXPECT_EQ(s.bands, 80);
  EXPECT_EQ(s.width, 64);
  EXPECT_EQ(s.heads, 2);
  EXPECT_EQ(s.depth, 2);
  EXPECT_EQ(s.text_blocks, 4);
  EXPECT_EQ(s.groups, 16);
  EXPECT_EQ(s.speaker, 192);
}

TEST_F(FlowNetwork, ThreadsDoNotShow) {
  for (const std::vector<int64_t>& blocks : {std::vector<int64_t>{}, {5, 9}}) {
    const FlowOptions how{.steps = 3, .seed = 5, .blocks = blocks};
    const Tensor two = model_.sample(ctx_.ctx(), input(), how);
    EXPECT_EQ(two.shape(), Shape({40 - kPromptFrames, 80}));
    for (const int threads : {1, 3}) {
      OwnedCtx other(options(threads));
      EXPECT_TRUE(are_same(two, model_.sample(other.ctx(), input(), how))) << threads;
    }
  }
}

TEST_F(FlowNetwork, BothBranchesAreTwoCallsAlone) {
  const std::vector<int64_t> blocks{7, 3, 12};  // a later row may see less than an earlier one
  const FlowOptions how{.steps = 4, .blocks = blocks};
  Ctx& ctx = ctx_.ctx();
  const Tensor x = model_.start(how, 40);
  const FlowConditions both = model_.conditions(ctx, input(), how, kBoth);
  for (const int64_t step : {0, 3}) {
    const Tensor v = model_.velocity(ctx, x, both, step);
    ASSERT_EQ(v.shape(), Shape({80, 80}));
    EXPECT_TRUE(are_same(v.slice(0, 0, 40),
                         model_.velocity(
                             ctx, x, model_.conditions(ctx, input(), how, kGuided), step)));
    EXPECT_TRUE(are_same(
        v.slice(0, 40, 80),
        model_.velocity(ctx, x, model_.conditions(ctx, input(), how, kFree), step)));
  }
}

// Nothing of the voice but its tokens enters the free branch; all of it enters the other.
TEST_F(FlowNetwork, TheFreeBranchSeesTokensAlone) {
  Ctx& ctx = ctx_.ctx();
  const Tensor x = model_.start({}, 40);
  const auto run = [&](std::span<const FlowBranch> branch) {
    return model_.velocity(ctx, x, model_.conditions(ctx, input(), {}, branch), 2);
  };
  const Tensor free = run(kFree), guided = run(kGuided);
  speaker_ = deviates(192, 3);
  mel_ = deviates(mel_.size(), 4);
  EXPECT_TRUE(are_same(free, run(kFree)));
  EXPECT_FALSE(are_same(guided, run(kGuided)));
  tokens_[3] = 11;
  EXPECT_FALSE(are_same(free, run(kFree)));
}

TEST_F(FlowNetwork, OnlyTheDirectionOfTheSpeakerCounts) {
  const Tensor before = model_.sample(ctx_.ctx(), input(), {.steps = 2});
  for (float& value : speaker_) value *= 4;
  EXPECT_TRUE(are_same(before, model_.sample(ctx_.ctx(), input(), {.steps = 2})));
}

TEST_F(FlowNetwork, NoiseOfASeedBeginsAlikeForAnyLength) {
  const Tensor longer = model_.start({.seed = 3}, 50), shorter = model_.start({.seed = 3}, 20);
  EXPECT_TRUE(are_same(longer.slice(0, 0, 20), shorter));
  EXPECT_FALSE(are_same(shorter, model_.start({.seed = 4}, 20)));
}

TEST_F(FlowNetwork, APromptLongerThanAllTokensLeavesNothing) {
  mel_ = deviates(60 * 80, 6);
  EXPECT_EQ(model_.sample(ctx_.ctx(), input(), {.steps = 2}).shape(), Shape({0, 80}));
}

TEST_F(FlowNetwork, WhatDoesNotFitIsRefused) {
  const auto refused = [&](const FlowInput& in, const FlowOptions& how) {
    return error_of([&] { model_.sample(ctx_.ctx(), in, how); });
  };
  const std::vector<int32_t> outside{3, 257}, negative{-1};
  const std::vector<int32_t> many(50'001, 1);
  const std::vector<int64_t> endless{4, 0};
  const auto with = [&](std::span<const int32_t> tokens) {
    return FlowInput{prompt_, tokens, mel_, speaker_};
  };
  EXPECT_THAT(refused(with(outside), {}), testing::HasSubstr("speech token 257"));
  EXPECT_THAT(refused(with(negative), {}), testing::HasSubstr("speech token -1"));
  EXPECT_THAT(refused(with(many), {}), testing::HasSubstr("100000 mel frames at most"));
  EXPECT_THAT(refused({{}, {}, mel_, speaker_}, {}), testing::HasSubstr("no speech tokens"));
  EXPECT_THAT(refused({prompt_, tokens_, std::span(mel_).first(81), speaker_}, {}),
              testing::HasSubstr("frames of 80"));
  EXPECT_THAT(refused({prompt_, tokens_, mel_, std::span(speaker_).first(7)}, {}),
              testing::HasSubstr("a speaker vector of 7: expected 192"));
  EXPECT_THAT(refused(input(), {.steps = 0}), testing::HasSubstr("0 steps"));
  EXPECT_THAT(refused(input(), {.noise = mel_}), testing::HasSubstr("values of noise"));
  EXPECT_THAT(refused(input(), {.blocks = endless}), testing::HasSubstr("blocks of frames"));
}

TEST_F(FlowNetwork, AStreamKeepsWhatItHasSettled) {
  const int64_t chunks[] = {5, 6, 20}, ahead[] = {2, 3};
  const FlowStreamRule rule = FlowStreamRule::own(model_.config(), kPromptFrames, chunks, ahead);
  EXPECT_EQ(rule.blocks, std::vector<int64_t>({kPromptFrames, 10, 12, 40}));
  FlowStream stream(model_, input(), rule, {.steps = 3, .seed = 8});
  Tensor before;
  int64_t settled = 0;
  size_t at = 0;
  while (at < tokens_.size()) {
    const size_t end = std::min(tokens_.size(), at + static_cast<size_t>(stream.wanted()));
    const FlowChunk chunk = stream.take(ctx_.ctx(), std::span(tokens_).subspan(at, end - at));
    at = end;
    EXPECT_EQ(chunk.mel.dim(0),
              model_.config().frames(static_cast<int64_t>(prompt_.size() + at)) - kPromptFrames);
    if (before.defined()) {
      EXPECT_EQ(chunk.held, kPromptFrames + settled);
      EXPECT_TRUE(are_same(chunk.mel.slice(0, 0, settled), before.slice(0, 0, settled)));
    }
    EXPECT_GT(chunk.settled, settled);
    EXPECT_LT(chunk.settled, chunk.mel.dim(0));
    settled = chunk.settled;
    before = chunk.mel;
  }
}

// The first chunk has nothing to hold, so it is the recording made at once under its mask.
TEST_F(FlowNetwork, AStreamOfOneChunkIsOneRecording) {
  const FlowStreamRule rule = FlowStreamRule::own(model_.config(), kPromptFrames);
  FlowStream stream(model_, input(), rule, {.steps = 3, .seed = 8});
  EXPECT_EQ(stream.wanted(), 25);
  const Tensor streamed = stream.take(ctx_.ctx(), tokens_).mel;
  EXPECT_TRUE(are_same(
      streamed,
      model_.sample(ctx_.ctx(), input(), {.steps = 3, .seed = 8, .blocks = rule.blocks})));
}

TEST_F(FlowNetwork, AChunkThatIsRefusedLeavesTheStreamAsItWas) {
  const FlowStreamRule rule = FlowStreamRule::own(model_.config(), kPromptFrames);
  FlowStream twice(model_, input(), rule, {.steps = 2}), once(model_, input(), rule, {.steps = 2});
  const int32_t outside[] = {1, 999};
  EXPECT_THAT(error_of([&] { twice.take(ctx_.ctx(), outside); }), testing::HasSubstr("999"));
  EXPECT_TRUE(are_same(twice.take(ctx_.ctx(), tokens_).mel, once.take(ctx_.ctx(), tokens_).mel));
}

TEST(FlowMask, LaterBlocksMayBeSmaller) {
  const int64_t blocks[] = {4, 1};
  EXPECT_EQ(visible_frames(blocks, 8), std::vector<int32_t>({4, 4, 5, 6, 5, 6, 7, 8}));
  EXPECT_EQ(published_block_frames(25), 172);
  EXPECT_THAT(error_of([&] { visible_frames(blocks, -1); }), testing::HasSubstr("-1 frames"));
  const int64_t none[] = {0, 3};
  EXPECT_EQ(visible_frames(none, 3), std::vector<int32_t>({3, 3, 3}));
}

TEST(FlowMask, LongBlocksSeeTwoThirdsAhead) {
  const int64_t blocks[] = {300};
  const std::vector<int32_t> seen = visible_frames(blocks, 1000);
  EXPECT_EQ(seen[99], 300);   // 200 behind it
  EXPECT_EQ(seen[100], 301);  // the 200th
  EXPECT_EQ(seen[299], 500);
  EXPECT_EQ(seen[999], 1000);
}

TEST(WaveSeam, JoinsWithoutALossAndFadesWhereChunksMeet) {
  std::vector<float> wave(1000, 1.0f);
  WaveSeam seam(100, 0.5);  // 50 samples
  std::vector<float> all = seam.take(std::span(wave).first(400), 1, false);
  EXPECT_EQ(all.size(), 250u);  // 100 of look-ahead, 50 of fade
  wave.assign(1000, 2.0f);
  const std::vector<float> next = seam.take(std::span(wave).first(700), 2, false),
                           last = seam.take(wave, 2, true);
  EXPECT_EQ(next.size(), 200u);
  EXPECT_EQ(last.size(), 550u);
  EXPECT_FLOAT_EQ(next[0], 1);
  EXPECT_FLOAT_EQ(next[49], 2);
  EXPECT_FLOAT_EQ(next[20], 1 + 20.0f / 49);
  EXPECT_FLOAT_EQ(last[0], 2);
  EXPECT_EQ(all.size() + next.size() + last.size(), wave.size());
}

TEST(WaveSeam, AChunkShorterThanItsLookAheadWaits) {
  const std::vector<float> wave(300, 1.0f);
  WaveSeam seam(100, 0.1);
  EXPECT_TRUE(seam.take(std::span(wave).first(50), 1, false).empty());
  EXPECT_EQ(seam.take(wave, 1, true).size(), 300u);
}

constexpr std::string_view kPublished =
    "flow: !new:flow.flow.Flow  # made by a tag\n    spkr_emb_adaLN: True\n"
    "    speech_token_cfg: False\n    remove_spkr_concat_condition: True\n    mel_dim: 80\n"
    "    mel_framerate: 50\n    input_frame_rate: 25";

TEST(FlowConfig, ReadsThePublishedFile) {
  const FlowConfig config = FlowConfig::from_yaml(kPublished, "config.yaml");
  EXPECT_EQ(config.token_rate_hz, 25);
  EXPECT_EQ(config.frame_rate_hz, 50);
  EXPECT_EQ(config.frames(28), 56);
  EXPECT_EQ(config.frames(29), 57);
}

TEST(FlowConfig, OtherNetworksAndDamageAreRefused) {
  const auto refused = [](std::string_view from, std::string_view to) {
    std::string text(kPublished);
    text.replace(text.find(from), from.size(), to);
    return error_of([&] { FlowConfig::from_yaml(text, "config.yaml"); });
  };
  EXPECT_THAT(refused("speech_token_cfg: False", "speech_token_cfg: True"),
              testing::StartsWith("unsupported: config.yaml: speech_token_cfg is true"));
  EXPECT_THAT(refused("speech_token_cfg: False", ""),  // true where it is absent
              testing::StartsWith("unsupported: config.yaml: speech_token_cfg is true"));
  EXPECT_THAT(refused("spkr_emb_adaLN: True", "spkr_emb_adaLN: !ref <x>"),
              testing::StartsWith("data_loss: config.yaml: spkr_emb_adaLN"));
  EXPECT_THAT(refused("mel_dim: 80", "use_wavlm_emb: true"),
              testing::StartsWith("unsupported: config.yaml: use_wavlm_emb"));
  EXPECT_THAT(refused("mel_dim: 80", "t_scheduler: 'linear'"),
              testing::StartsWith("unsupported: config.yaml: t_scheduler linear"));
  EXPECT_THAT(refused("mel_framerate: 50", "mel_framerate: -1"),
              testing::StartsWith("data_loss: config.yaml: mel_framerate"));
  EXPECT_THAT(refused("mel_dim: 80", "mel_framerate: 50"), testing::HasSubstr("more than once"));
}

}  // namespace
}  // namespace quern
