// SPDX-License-Identifier: Apache-2.0
#include "sampling/speech_rules.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace quern {
namespace {

constexpr float kRuledOut = -std::numeric_limits<float>::infinity();

class SpeechFilter : public LogitProcessor {
 public:
  explicit SpeechFilter(std::shared_ptr<const SpeechRules> rules) : rules_(std::move(rules)) {}

  void apply(std::span<float> logits, const History& history) override {
    const auto said = history.output();
    rule_out(logits, rules_->never);
    if (said.empty()) rule_out(logits, rules_->never_first);
    if (!rules_->has_times) return;
    rule_out(logits, {&rules_->no_times, 1});
    pair_times(logits, said);
    ascend(logits, said);
    if (said.empty()) begin_with_time(logits);
    prefer_times(logits);
  }

 private:
  bool is_time(int32_t token) const { return token >= rules_->first_time; }
  std::span<float> words(std::span<float> logits) const {
    return logits.first(static_cast<size_t>(rules_->end));
  }
  std::span<float> before_times(std::span<float> logits) const {
    return logits.first(static_cast<size_t>(rules_->first_time));
  }
  std::span<float> times(std::span<float> logits, int64_t from = 0) const {
    const auto at = static_cast<size_t>(rules_->first_time + from);
    return logits.subspan(std::min(at, logits.size()));
  }
  static void rule_out(std::span<float> logits, std::span<const int32_t> tokens) {
    for (const int32_t token : tokens) logits[static_cast<size_t>(token)] = kRuledOut;
  }

  // Behind a pair of times comes a word, behind a single one its twin or the end.
  void pair_times(std::span<float> logits, std::span<const int32_t> said) const {
    if (said.empty() || !is_time(said.back())) return;
    const bool is_pair = said.size() < 2 || is_time(said[said.size() - 2]);
    std::ranges::fill(is_pair ? times(logits) : words(logits), kRuledOut);
  }

  // No time lies before the last one, and only its twin on it.
  void ascend(std::span<float> logits, std::span<const int32_t> said) const {
    const auto last =
        std::find_if(said.rbegin(), said.rend(), [&](int32_t t) { return is_time(t); });
    if (last == said.rend()) return;
    const bool may_be_twin =
        last == said.rbegin() && said.size() >= 2 && !is_time(said[said.size() - 2]);
    const int64_t least = *last - rules_->first_time + (may_be_twin ? 0 : 1);
    const auto all = times(logits);
    std::ranges::fill(all.first(std::min(static_cast<size_t>(least), all.size())), kRuledOut);
  }

  void begin_with_time(std::span<float> logits) const {
    std::ranges::fill(before_times(logits), kRuledOut);
    std::ranges::fill(times(logits, int64_t{rules_->most_steps_before} + 1), kRuledOut);
  }

  // A time comes where times together are likelier than the likeliest other token.
  void prefer_times(std::span<float> logits) const {
    const auto late = times(logits);
    const auto other = before_times(logits);
    if (late.empty() || other.empty()) return;
    const float best = *std::ranges::max_element(late), rival = *std::ranges::max_element(other);
    if (best == kRuledOut) return;
    double sum = 0;
    for (const float x : late) sum += std::exp(double{x} - double{best});
    if (double{best} + std::log(sum) > double{rival}) std::ranges::fill(other, kRuledOut);
  }

  std::shared_ptr<const SpeechRules> rules_;
};

}  // namespace

void SpeechRules::validate(int64_t vocab_size) const {
  const auto check = [&](int64_t id) {
    if (id < 0 || id >= vocab_size)
      fail(ErrorCode::data_loss,
           "a token of the rules of speech is {}: the model's vocabulary has {}",
           id,
           vocab_size);
  };
  for (const int32_t id : never) check(id);
  for (const int32_t id : never_first) check(id);
  if (!has_times) return;
  for (const int32_t id : {end, no_times, first_time}) check(id);
  if (most_steps_before < 0)
    fail(ErrorCode::data_loss, "the first time is at most {} steps late", most_steps_before);
}

std::unique_ptr<LogitProcessor> make_speech_rules(std::shared_ptr<const SpeechRules> rules) {
  return std::make_unique<SpeechFilter>(std::move(rules));
}

}  // namespace quern
