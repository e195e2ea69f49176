// SPDX-License-Identifier: Apache-2.0
// GLM-TTS's side of a prompt: what was said before in a voice, what is to be said now, and the
// tokens of sound that the model goes on from.
//
//   text of pieces before … text  <|begin_of_audio|>  speech tokens of the pieces before …
//
// The first piece before is the recording that the voice comes from. Source: zai-org/GLM-TTS,
// glmtts_inference.py.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "prompt/prompt.h"
#include "text/tokenizer/tokenizer.h"

namespace quern {

struct GlmTtsTokens {
  int32_t begin = -1;  // <|begin_of_audio|>
  int32_t end = -1;    // <|user|>: where the sound ends
  int32_t first = -1;  // <|audio_0|>; the others follow
  int32_t count = 0;   // kinds of speech tokens

  // By name. Throws data_loss where the tokenizer lacks one, or speech tokens have gaps.
  static GlmTtsTokens read(const Tokenizer& tokenizer);

  bool is_speech(int32_t id) const { return id >= first && id - first < count; }
};

// Something said: tokens of its text, and what of sound they became (0 to count).
struct SaidPiece {
  std::vector<int32_t> text, speech;
};

// Throws invalid_argument for a speech token that is none.
Prompt speech_prompt(const GlmTtsTokens& tokens,
                     std::span<const SaidPiece> before,
                     std::span<const int32_t> text);

}  // namespace quern
