// SPDX-License-Identifier: Apache-2.0
#include "prompt/glm_tts.h"

#include "base/error.h"
#include "prompt/processor.h"

namespace quern {
namespace {

int32_t id_of(const Tokenizer& tokenizer, std::string_view name) {
  const auto id = tokenizer.token_to_id(name);
  if (!id) fail(ErrorCode::data_loss, "tokenizer: no token is called {}", name);
  return *id;
}

}  // namespace

GlmTtsTokens GlmTtsTokens::read(const Tokenizer& tokenizer) {
  GlmTtsTokens out;
  out.begin = id_of(tokenizer, "<|begin_of_audio|>");
  out.end = id_of(tokenizer, "<|user|>");
  out.first = id_of(tokenizer, "<|audio_0|>");
  while (const auto next = tokenizer.token_to_id(format("<|audio_{}|>", out.count))) {
    if (*next != out.first + out.count)
      fail(ErrorCode::data_loss,
           "tokenizer: <|audio_{}|> has id {}: expected {}, as <|audio_0|> has {}",
           out.count,
           *next,
           out.first + out.count,
           out.first);
    ++out.count;
  }
  return out;
}

Prompt speech_prompt(const GlmTtsTokens& tokens,
                     std::span<const SaidPiece> before,
                     std::span<const int32_t> text) {
  Prompt out;
  for (const SaidPiece& piece : before)
    out.ids.insert(out.ids.end(), piece.text.begin(), piece.text.end());
  out.ids.insert(out.ids.end(), text.begin(), text.end());
  out.ids.push_back(tokens.begin);
  for (const SaidPiece& piece : before)
    for (const int32_t speech : piece.speech) {
      if (speech < 0 || speech >= tokens.count)
        fail(ErrorCode::invalid_argument,
             "speech token {}: this model has 0 to {}",
             speech,
             tokens.count - 1);
      out.ids.push_back(tokens.first + speech);
    }
  place_text(out, 1);
  return out;
}

}  // namespace quern
