// SPDX-License-Identifier: Apache-2.0
#include "sampling/logit_processor.h"

#include <algorithm>
#include <limits>
#include <unordered_map>

namespace quern {
namespace {

constexpr float kBanned = -std::numeric_limits<float>::infinity();

float& at(std::span<float> logits, int32_t token) {
  return logits[static_cast<size_t>(token)];
}

class Hook : public LogitProcessor {
 public:
  explicit Hook(const LogitHook& hook) : hook_(hook) {}
  void apply(std::span<float> logits, const History& history) override {
    hook_(logits, history.tokens);
  }

 private:
  const LogitHook& hook_;
};

class AllowedTokens : public LogitProcessor {
 public:
  explicit AllowedTokens(std::vector<int32_t> allowed) : allowed_(std::move(allowed)) {
    std::sort(allowed_.begin(), allowed_.end());
    allowed_.erase(std::unique(allowed_.begin(), allowed_.end()), allowed_.end());
  }
  void apply(std::span<float> logits, const History&) override {
    auto next = logits.begin();
    for (const int32_t token : allowed_) {
      std::fill(next, logits.begin() + token, kBanned);
      next = logits.begin() + token + 1;
    }
    std::fill(next, logits.end(), kBanned);
  }

 private:
  std::vector<int32_t> allowed_;
};

// The last token of a word is banned where the output ends with the tokens before it.
class BadWords : public LogitProcessor {
 public:
  explicit BadWords(const std::vector<std::vector<int32_t>>& words) : words_(words) {}
  void apply(std::span<float> logits, const History& history) override {
    const auto output = history.output();
    for (const auto& word : words_) {
      const size_t before = word.size() - 1;
      if (before <= output.size() &&
          std::equal(word.begin(), word.end() - 1, output.end() - static_cast<ptrdiff_t>(before)))
        at(logits, word.back()) = kBanned;
    }
  }

 private:
  const std::vector<std::vector<int32_t>>& words_;
};

class MinTokens : public LogitProcessor {
 public:
  explicit MinTokens(const SamplingParams& params) : params_(params) {}
  void apply(std::span<float> logits, const History& history) override {
    if (history.output().size() >= static_cast<size_t>(params_.min_tokens)) return;
    for (const int32_t token : params_.stop_token_ids) at(logits, token) = kBanned;
  }

 private:
  const SamplingParams& params_;
};

class Bias : public LogitProcessor {
 public:
  explicit Bias(const SamplingParams& params) : params_(params) {}
  void apply(std::span<float> logits, const History&) override {
    for (const auto& [token, bias] : params_.logit_bias) at(logits, token) += bias;
  }

 private:
  const SamplingParams& params_;
};

// Repetition (Keskar et al. 2019) over prompt and output; presence and frequency over the output.
// Counts grow with the history, so a step costs as much as there are different tokens.
class Penalties : public LogitProcessor {
 public:
  explicit Penalties(const SamplingParams& params) : params_(params) {}
  void apply(std::span<float> logits, const History& history) override {
    count(history);
    const auto repetition = static_cast<float>(params_.repetition_penalty);
    const auto frequency = static_cast<float>(params_.frequency_penalty);
    const auto presence = static_cast<float>(params_.presence_penalty);
    for (const auto& [token, times] : output_count_) {
      float& logit = at(logits, token);
      logit = logit > 0 ? logit / repetition : logit * repetition;
      if (times > 0) logit -= frequency * static_cast<float>(times) + presence;
    }
  }

 private:
  void count(const History& history) {
    for (; counted_ < history.tokens.size(); ++counted_)
      output_count_[history.tokens[counted_]] += counted_ >= history.prompt_length ? 1 : 0;
  }

  const SamplingParams& params_;
  std::unordered_map<int32_t, int>
      output_count_;  // every token of the history; how often in the output
  size_t counted_ = 0;
};

}  // namespace

std::vector<std::unique_ptr<LogitProcessor>> make_logit_processors(const SamplingParams& p,
                                                                   const LogitHook& hook) {
  std::vector<std::unique_ptr<LogitProcessor>> chain;
  if (hook) chain.push_back(std::make_unique<Hook>(hook));
  if (!p.allowed_token_ids.empty())
    chain.push_back(std::make_unique<AllowedTokens>(p.allowed_token_ids));
  if (!p.bad_words.empty()) chain.push_back(std::make_unique<BadWords>(p.bad_words));
  if (p.min_tokens > 0 && !p.stop_token_ids.empty())
    chain.push_back(std::make_unique<MinTokens>(p));
  if (!p.logit_bias.empty()) chain.push_back(std::make_unique<Bias>(p));
  if (p.repetition_penalty != 1 || p.presence_penalty != 0 || p.frequency_penalty != 0)
    chain.push_back(std::make_unique<Penalties>(p));
  return chain;
}

}  // namespace quern
