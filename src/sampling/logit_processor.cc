// SPDX-License-Identifier: Apache-2.0
#include "sampling/logit_processor.h"

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "base/error.h"
#include "sampling/grammar/grammar.h"
#include "sampling/speech_rules.h"

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

struct MaskedRun {
  bool is_any_left = false, has_nan = false;
};

// Bans up to 32 neighbours by the bits of one word. Without a branch in the loop, so that it is
// vectorised; a NaN counts even where it is banned.
MaskedRun mask_run(float* logits, size_t count, uint32_t word) {
  float highest = kBanned;
  uint32_t nans = 0;
  for (size_t i = 0; i < count; ++i) {
    nans |= static_cast<uint32_t>(logits[i] != logits[i]);
    logits[i] = (word >> i & 1u) != 0 ? logits[i] : kBanned;
    highest = logits[i] > highest ? logits[i] : highest;
  }
  return {highest > kBanned, nans != 0};
}

// The state follows the history: what is missing is replayed, what was taken back is undone.
class GrammarMask : public LogitProcessor {
 public:
  explicit GrammarMask(const Grammar& grammar) : grammar_(grammar), state_(grammar.start()) {}
  void apply(std::span<float> logits, const History& history) override {
    follow(history.output());
    words_.resize((logits.size() + 31) / 32);
    state_->fill_mask(words_);
    MaskedRun row;
    for (size_t w = 0; w < words_.size(); ++w) {
      const size_t count = std::min<size_t>(32, logits.size() - w * 32);
      const MaskedRun run = mask_run(logits.data() + w * 32, count, words_[w]);
      row.is_any_left |= run.is_any_left;
      row.has_nan |= run.has_nan;
    }
    if (row.has_nan) logits[0] = std::numeric_limits<float>::quiet_NaN();  // arg_max reports it
    if (!row.is_any_left && !row.has_nan) refuse(history.output().size());
  }

 private:
  void follow(std::span<const int32_t> output) {
    const size_t common = static_cast<size_t>(
        std::mismatch(accepted_.begin(), accepted_.end(), output.begin(), output.end()).first -
        accepted_.begin());
    if (const size_t undone = accepted_.size() - common;
        undone > static_cast<size_t>(GrammarState::kMaxRollback)) {
      state_ = grammar_.start();
      accepted_.clear();
    } else if (undone > 0) {
      state_->rollback(static_cast<int>(undone));
      accepted_.resize(common);
    }
    for (size_t i = accepted_.size(); i < output.size(); ++i) {
      if (!state_->accept(output[i]))
        fail(ErrorCode::internal,
             "structured output: output token {} (id {}) is not allowed by the grammar",
             i,
             output[i]);
      accepted_.push_back(output[i]);
    }
  }

  [[noreturn]] void refuse(size_t position) const {
    const bool any = std::any_of(words_.begin(), words_.end(), [](uint32_t w) { return w != 0; });
    if (any)
      fail(ErrorCode::invalid_argument,
           "structured output: at output token {} everything that the grammar allows is banned; "
           "relax allowed_token_ids, bad_words, logit_bias or min_tokens",
           position);
    fail(ErrorCode::invalid_argument,
         "structured output: at output token {} no token of the vocabulary goes on with what the "
         "grammar asks for",
         position);
  }

  const Grammar& grammar_;
  std::unique_ptr<GrammarState> state_;
  std::vector<int32_t> accepted_;
  std::vector<uint32_t> words_;
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
  if (p.speech) chain.push_back(make_speech_rules(p.speech));
  if (p.grammar) chain.push_back(std::make_unique<GrammarMask>(*p.grammar));
  return chain;
}

}  // namespace quern
