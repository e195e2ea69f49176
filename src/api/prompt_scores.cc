// SPDX-License-Identifier: Apache-2.0
#include "api/prompt_scores.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "api/stream_assembler.h"
#include "text/tokenizer/detokenizer.h"

namespace quern {
namespace {

size_t shown_count(const PromptLogprob& entry, int count) {
  return std::min(entry.logprobs.size(), static_cast<size_t>(count) + 1);
}

}  // namespace

ScoredToken scored_token(const Tokenizer& tokenizer, const TokenLogprob& logprob) {
  ScoredToken out;
  out.id = logprob.token;
  // JSON has no infinity; a token that was forbidden gets a number no real one has.
  out.logprob = std::max(logprob.logprob, -9999.0f);
  out.text = tokenizer.decode(std::span(&logprob.token, 1));
  out.bytes = std::string(tokenizer.token_bytes(logprob.token));
  return out;
}

Json prompt_logprobs_json(const ScoredPrompt& scored, int count) {
  Json out = Json::array({nullptr});
  for (const PromptLogprob& entry : scored.logprobs) {
    Json& tokens = out.emplace_back(Json::object());
    for (size_t i = 0; i < shown_count(entry, count); ++i) {
      const ScoredToken token = scored_token(*scored.tokenizer, entry.logprobs[i]);
      const std::string id = std::to_string(token.id);
      if (tokens.contains(id)) continue;
      tokens[id] = {{"logprob", token.logprob},
                    {"rank", i == 0 ? entry.rank : static_cast<int32_t>(i)},
                    {"decoded_token", token.text}};
    }
  }
  return out;
}

std::vector<TokenScores> echoed_scores(const ScoredPrompt& scored, int count) {
  std::vector<TokenScores> out;
  Detokenizer texts(*scored.tokenizer, false);
  int64_t characters = 0;
  const auto& ids = scored.prompt->ids;
  for (size_t i = 0; i < ids.size(); ++i) {
    TokenScores& scores = out.emplace_back();
    scores.text_offset = characters;
    characters += character_count(texts.push(ids[i]));
    scores.chosen = scored_token(*scored.tokenizer, {ids[i], 0});
    scores.chosen.logprob = std::numeric_limits<float>::quiet_NaN();
    if (i == 0) continue;
    const PromptLogprob& entry = scored.logprobs.at(i - 1);
    scores.chosen = scored_token(*scored.tokenizer, entry.logprobs[0]);
    for (size_t k = 1; k < shown_count(entry, count); ++k)
      scores.top.push_back(scored_token(*scored.tokenizer, entry.logprobs[k]));
  }
  return out;
}

}  // namespace quern
