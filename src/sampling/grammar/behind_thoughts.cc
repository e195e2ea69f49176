// SPDX-License-Identifier: Apache-2.0
#include "sampling/grammar/behind_thoughts.h"

#include <algorithm>

#include "base/error.h"

namespace quern {
namespace {

void set_bit(std::span<uint32_t> words, int32_t token, bool value) {
  const auto word = static_cast<size_t>(token) / 32;
  if (token < 0 || word >= words.size()) return;
  const uint32_t bit = 1u << (static_cast<uint32_t>(token) % 32);
  words[word] = value ? words[word] | bit : words[word] & ~bit;
}

class ThoughtfulState final : public GrammarState {
 public:
  ThoughtfulState(std::unique_ptr<GrammarState> answer,
                  const ThoughtTokens& tokens,
                  const std::vector<int32_t>& end_ids)
      : answer_(std::move(answer)), tokens_(tokens), end_ids_(end_ids) {}

  void fill_mask(std::span<uint32_t> words) override {
    if (is_thinking()) {
      std::fill(words.begin(), words.end(), ~0u);
      for (const int32_t id : end_ids_) set_bit(words, id, false);
      return;
    }
    answer_->fill_mask(words);
    if (may_begin()) set_bit(words, tokens_.begin, true);
  }

  bool accept(int32_t token) override {
    if (may_begin() && token == tokens_.begin) {
      thoughts_ = 1;
      return true;
    }
    if (!is_thinking()) {
      const bool is_allowed = answer_->accept(token);
      answered_ += is_allowed;
      return is_allowed;
    }
    if (std::ranges::find(end_ids_, token) != end_ids_.end()) return false;
    ++thoughts_;
    has_ended_ = token == tokens_.end;
    return true;
  }

  void rollback(int tokens) override {
    const int of_answer = std::min(tokens, answered_), of_thoughts = tokens - of_answer;
    QUERN_CHECK(of_thoughts <= thoughts_, "{} tokens of {} back", tokens, answered_ + thoughts_);
    if (of_answer > 0) answer_->rollback(of_answer);
    answered_ -= of_answer;
    thoughts_ -= of_thoughts;
    if (of_thoughts > 0) has_ended_ = false;
  }

  bool is_finished() const override { return answer_->is_finished(); }

 private:
  bool may_begin() const { return !tokens_.is_open && thoughts_ == 0 && answered_ == 0; }
  bool is_thinking() const { return (tokens_.is_open || thoughts_ > 0) && !has_ended_; }

  std::unique_ptr<GrammarState> answer_;
  const ThoughtTokens tokens_;
  const std::vector<int32_t> end_ids_;
  int thoughts_ = 0;        // tokens up to the end of thoughts, marks counted
  bool has_ended_ = false;  // the last of them was `end`
  int answered_ = 0;
};

class Thoughtful final : public Grammar {
 public:
  Thoughtful(std::shared_ptr<const Grammar> answer,
             const ThoughtTokens& tokens,
             std::vector<int32_t> end_ids)
      : answer_(std::move(answer)), tokens_(tokens), end_ids_(std::move(end_ids)) {}
  std::unique_ptr<GrammarState> start() const override {
    return std::make_unique<ThoughtfulState>(answer_->start(), tokens_, end_ids_);
  }
  size_t memory_bytes() const override { return answer_->memory_bytes(); }

 private:
  std::shared_ptr<const Grammar> answer_;
  ThoughtTokens tokens_;
  std::vector<int32_t> end_ids_;
};

}  // namespace

std::shared_ptr<const Grammar> behind_thoughts(std::shared_ptr<const Grammar> answer,
                                               const ThoughtTokens& tokens,
                                               std::vector<int32_t> end_ids) {
  return std::make_shared<const Thoughtful>(std::move(answer), tokens, std::move(end_ids));
}

}  // namespace quern
