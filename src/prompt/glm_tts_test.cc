// SPDX-License-Identifier: Apache-2.0
#include "prompt/glm_tts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace quern {
namespace {

TEST(GlmTtsPrompt, TextsStandInFrontAndSpeechBehind) {
  const Tokenizer tokenizer = Tokenizer::from_folder(
      QUERN_SOURCE_DIR "/tests/golden/glm_tts_llm/vq32k-phoneme-tokenizer");
  const GlmTtsTokens tokens = GlmTtsTokens::read(tokenizer);
  EXPECT_EQ(tokens.begin, 494);
  EXPECT_EQ(tokens.end, 487);
  EXPECT_EQ(tokens.first, 516);
  EXPECT_EQ(tokens.count, 256);
  const std::vector<SaidPiece> before = {{{1, 2}, {7, 255}}, {{3}, {0}}};
  const std::vector<int32_t> text = {4, 5};
  const Prompt prompt = speech_prompt(tokens, before, text);
  EXPECT_THAT(prompt.ids, testing::ElementsAre(1, 2, 3, 4, 5, 494, 523, 771, 516));
  EXPECT_EQ(prompt.positions.back(), 8);
  const std::vector<SaidPiece> wrong = {{{1}, {256}}};
  EXPECT_THROW(speech_prompt(tokens, wrong, text), Error);
}

TEST(GlmTtsPrompt, ATokenizerWithoutSoundIsRefused) {
  const Tokenizer other =
      Tokenizer::from_folder(QUERN_SOURCE_DIR "/tests/golden/tokenizer_qwen2");
  EXPECT_THROW(GlmTtsTokens::read(other), Error);
}

}  // namespace
}  // namespace quern
