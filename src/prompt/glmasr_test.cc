// SPDX-License-Identifier: Apache-2.0
// Recordings as GLM-ASR's prompts have them: windows, tokens, what is too short or too long.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "prompt/prompt_builder.h"

namespace quern {
namespace {

using testing::HasSubstr;

const std::string kGolden = QUERN_SOURCE_DIR "/tests/golden/";
constexpr const char* kText = "<|user|>\n<|begin_of_audio|><|pad|><|end_of_audio|>";

// Windows of 30 seconds, and of 2.
const PromptBuilder& builder(bool is_short = false) {
  const auto open = [](const std::string& folder) {
    return PromptBuilder::open(folder, *open_checkpoint(folder));
  };
  static const auto whole = open(kGolden + "glmasr"), chunked = open(kGolden + "glmasr_chunked");
  return is_short ? *chunked : *whole;
}

OpenedMedia recording(int64_t samples) {
  OpenedMedia media{.kind = MediaKind::audio, .frames = {}};
  media.sound.rate_hz = 16'000;
  for (int64_t i = 0; i < samples; ++i)
    media.sound.samples.push_back(0.1f * std::sin(static_cast<float>(i % 16'000)));
  return media;
}

Prompt prompt(int64_t samples, bool is_short = false, const PromptRules& rules = {}) {
  return builder(is_short).from_text(kText, false, {recording(samples)}, rules);
}

std::string error_of(int64_t samples, bool is_short = false) {
  try {
    prompt(samples, is_short);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    return e.what();
  }
  return "no error";
}

TEST(GlmAsrPrompt, TokensFollowFrames) {
  // Frames of 160 samples begun, halved and rounded up, four to a token.
  const std::pair<int64_t, int64_t> cases[] = {
      {961, 1}, {1120, 1}, {2240, 1}, {2241, 2}, {16'000, 12}, {480'000, 375}};
  for (const auto& [samples, tokens] : cases) {
    const Prompt made = prompt(samples);
    ASSERT_EQ(made.media.size(), 1u) << samples;
    EXPECT_EQ(made.media[0].count, tokens) << samples;
    const MediaInput& window = *made.media[0].media;
    EXPECT_EQ(window.rows, 3000);
    EXPECT_EQ(window.row_size, 128);
    EXPECT_EQ(window.values.size(), 3000u * 128u);
    EXPECT_EQ(window.valid_rows, (samples + 159) / 160);
    EXPECT_EQ(made.ids.size(), 4u + static_cast<size_t>(tokens));
  }
}

TEST(GlmAsrPrompt, WindowsStandSideBySide) {
  const Prompt made = prompt(32'000 * 2 + 5000, true);
  ASSERT_EQ(made.media.size(), 3u);
  EXPECT_EQ(made.media[0].count, 25);
  EXPECT_EQ(made.media[1].first_token, made.media[0].first_token + 25);
  EXPECT_EQ(made.media[2].first_token, made.media[1].first_token + 25);
  EXPECT_EQ(made.media[2].count, 4);
  EXPECT_EQ(made.media[2].media->part, 2);
  EXPECT_EQ(made.media[2].media->parts, 3);
  EXPECT_EQ(made.axes, 1);
  EXPECT_EQ(made.positions.back(), static_cast<int32_t>(made.ids.size()) - 1);
  // A last window of less than a token is left out.
  EXPECT_EQ(prompt(32'000 + 960, true).media.size(), 1u);
  EXPECT_EQ(prompt(32'000 + 961, true).media.size(), 2u);
}

// Windows of silence sound alike; what ends later becomes more tokens.
TEST(GlmAsrPrompt, HashesTellLengthsApart) {
  OpenedMedia quiet{.kind = MediaKind::audio, .frames = {}};
  quiet.sound = {std::vector<float>(16'000, 0.0f), 16'000};
  const Prompt one = builder().from_text(kText, false, {quiet});
  quiet.sound.samples.resize(24'000);
  const Prompt longer = builder().from_text(kText, false, {quiet});
  EXPECT_EQ(one.media[0].media->values, longer.media[0].media->values);
  EXPECT_NE(one.media[0].media->hash, longer.media[0].media->hash);
}

TEST(GlmAsrPrompt, TooShortAndTooLongAreSaid) {
  EXPECT_THAT(error_of(0), HasSubstr("too short, this model needs at least 0.060"));
  EXPECT_THAT(error_of(960), HasSubstr("too short"));
  const int64_t most = int64_t{327} * 32'000;  // 655 seconds, in whole windows of 2
  EXPECT_THAT(error_of(most + 1, true),
              HasSubstr("takes 327 windows of 2 seconds, 654 seconds, in one prompt"));
  // What the reference leaves of it is too long for this model's context.
  try {
    prompt(most + 50'000, true, {.cut_long_recordings = true});
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("at least 8175 tokens, the model's context is 4096"));
  }
}

TEST(GlmAsrPrompt, OtherMediaAndOptionsAreRefused) {
  OpenedMedia picture;
  picture.frames.push_back({28, 28, std::vector<uint8_t>(28 * 28 * 3)});
  EXPECT_THROW(builder().from_text(kText, false, {picture}), Error);
  EXPECT_THROW(builder().from_text("no place", false, {recording(16'000)}), Error);
  EXPECT_THROW(builder().from_text(kText, false, {}), Error);
  const std::string folder = kGolden + "glmasr";
  EXPECT_THROW(PromptBuilder::open(folder, *open_checkpoint(folder), {}, {.max_pixels = 4000}),
               Error);
}

TEST(GlmAsrPrompt, ThePlanSeesOneWindow) {
  const auto largest = builder().largest_medium(4096);
  ASSERT_TRUE(largest);
  EXPECT_EQ(largest->kind, MediaKind::audio);
  EXPECT_EQ(largest->tokens, 375);
  EXPECT_TRUE(largest->values.empty());
}

}  // namespace
}  // namespace quern
