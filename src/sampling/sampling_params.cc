// SPDX-License-Identifier: Apache-2.0
#include "sampling/sampling_params.h"

#include <cmath>
#include <string_view>

#include "base/error.h"
#include "sampling/speech_rules.h"

namespace quern {
namespace {

constexpr size_t kMaxBadWords = 4096, kMaxBadWordTokens = 256;

void check_range(std::string_view field, double value, double low, double high) {
  if (!(value >= low && value <= high))
    fail(ErrorCode::invalid_argument, "{}: expected {} to {}, got {}", field, low, high, value);
}

void check_positive(std::string_view field, double value, double high) {
  if (!(value > 0 && value <= high))
    fail(ErrorCode::invalid_argument,
         "{}: expected more than 0 and at most {}, got {}",
         field,
         high,
         value);
}

void check_token(std::string_view field, int32_t token, int64_t vocab_size) {
  if (token < 0 || token >= vocab_size)
    fail(ErrorCode::invalid_argument,
         "{}: token id {}: the vocabulary has 0 to {}",
         field,
         token,
         vocab_size - 1);
}

void check_tokens(std::string_view field, const std::vector<int32_t>& tokens, int64_t vocab_size) {
  if (static_cast<int64_t>(tokens.size()) > vocab_size)
    fail(ErrorCode::invalid_argument,
         "{}: {} ids, more than the vocabulary's {}",
         field,
         tokens.size(),
         vocab_size);
  for (const int32_t token : tokens) check_token(field, token, vocab_size);
}

void check_bad_words(const std::vector<std::vector<int32_t>>& words, int64_t vocab_size) {
  if (words.size() > kMaxBadWords)
    fail(ErrorCode::invalid_argument,
         "bad_words: expected at most {}, got {}",
         kMaxBadWords,
         words.size());
  for (const auto& word : words) {
    if (word.empty() || word.size() > kMaxBadWordTokens)
      fail(ErrorCode::invalid_argument,
           "bad_words: a word of {} tokens: expected 1 to {}",
           word.size(),
           kMaxBadWordTokens);
    check_tokens("bad_words", word, vocab_size);
  }
}

void check_lengths(const SamplingParams& p) {
  const int least = p.prompt_logprobs >= 0 ? 0 : 1;
  if (p.max_tokens < least)
    fail(ErrorCode::invalid_argument,
         "max_tokens: expected at least {}, got {}",
         least,
         p.max_tokens);
  if (p.min_tokens < 0 || p.min_tokens > p.max_tokens)
    fail(ErrorCode::invalid_argument,
         "min_tokens: expected 0 to max_tokens {}, got {}",
         p.max_tokens,
         p.min_tokens);
}

}  // namespace

void SamplingParams::validate(int64_t vocab_size) const {
  check_range("temperature", temperature, 0, 1e4);
  check_positive("top_p", top_p, 1);
  check_range("top_k", top_k, -1, 2147483647);
  check_range("min_p", min_p, 0, 1);
  check_positive("repetition_penalty", repetition_penalty, 1e4);
  check_range("presence_penalty", presence_penalty, -2, 2);
  check_range("frequency_penalty", frequency_penalty, -2, 2);
  check_lengths(*this);
  check_range("logprobs", logprobs, -1, static_cast<double>(vocab_size));
  check_range("prompt_logprobs", prompt_logprobs, -1, static_cast<double>(vocab_size));
  check_tokens("stop_token_ids", stop_token_ids, vocab_size);
  check_tokens("allowed_token_ids", allowed_token_ids, vocab_size);
  check_bad_words(bad_words, vocab_size);
  if (repetition_aware) repetition_aware->validate();
  if (speech) speech->validate(vocab_size);
  if (static_cast<int64_t>(logit_bias.size()) > vocab_size)
    fail(ErrorCode::invalid_argument,
         "logit_bias: {} entries, more than the vocabulary's {}",
         logit_bias.size(),
         vocab_size);
  for (const auto& [token, bias] : logit_bias) {
    check_token("logit_bias", token, vocab_size);
    check_range("logit_bias", bias, -100, 100);
  }
}

}  // namespace quern
