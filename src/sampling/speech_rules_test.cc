// SPDX-License-Identifier: Apache-2.0
#include "sampling/speech_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"

namespace quern {
namespace {

// Words 0 to 3, the end 4, a command 5, "no times" 6, times 7 (0.00) to 11.
constexpr int32_t kSpeechEnd = 4, kSilent = 6, kZero = 7, kVocab = 12;

std::shared_ptr<SpeechRules> rules_with_times() {
  auto rules = std::make_shared<SpeechRules>();
  rules->never = {5};
  rules->never_first = {0};
  rules->has_times = true;
  rules->end = kSpeechEnd;
  rules->no_times = kSilent;
  rules->first_time = kZero;
  rules->most_steps_before = 2;
  return rules;
}

// Which tokens may follow: words are likelier than all times together.
std::vector<int32_t> allowed_after(const std::vector<int32_t>& said,
                                   const std::shared_ptr<SpeechRules>& rules,
                                   float word_logit = 5) {
  std::vector<float> logits(kVocab, 0.0f);
  std::fill_n(logits.begin(), kZero, word_logit);
  std::vector<int32_t> tokens{5};  // the prompt
  tokens.insert(tokens.end(), said.begin(), said.end());
  make_speech_rules(rules)->apply(logits, {tokens, 1});
  std::vector<int32_t> out;
  for (int32_t id = 0; id < kVocab; ++id)
    if (logits[static_cast<size_t>(id)] > -std::numeric_limits<float>::infinity())
      out.push_back(id);
  return out;
}

using testing::ElementsAre;

TEST(SpeechRules, WithoutTimesOnlyTheListsHold) {
  auto rules = rules_with_times();
  rules->has_times = false;
  EXPECT_THAT(allowed_after({}, rules), ElementsAre(1, 2, 3, 4, 6, 7, 8, 9, 10, 11));
  EXPECT_THAT(allowed_after({1}, rules), ElementsAre(0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11));
}

TEST(SpeechRules, BeginsWithAnEarlyTime) {
  EXPECT_THAT(allowed_after({}, rules_with_times()), ElementsAre(7, 8, 9));
}

TEST(SpeechRules, TimesStandInPairsAndAscend) {
  const auto rules = rules_with_times();
  // Behind the first time, and behind a pair: words, or the end.
  EXPECT_THAT(allowed_after({8}, rules), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(allowed_after({8, 1, 9, 9}, rules), ElementsAre(0, 1, 2, 3, 4));
  // Behind a single one: its twin, a later one, or the end.
  EXPECT_THAT(allowed_after({8, 1, 9}, rules), ElementsAre(4, 9, 10, 11));
  // Between words no time comes again.
  EXPECT_THAT(allowed_after({8, 1}, rules), ElementsAre(0, 1, 2, 3, 4, 9, 10, 11));
  EXPECT_THAT(allowed_after({8, 1, 11, 11, 1}, rules), ElementsAre(0, 1, 2, 3, 4));
}

TEST(SpeechRules, TimesComeWhereTogetherTheyAreLikelier) {
  const auto rules = rules_with_times();
  // Three times at 0 sum to log 3 = 1.0986.
  EXPECT_THAT(allowed_after({8, 1}, rules, 1.0f), ElementsAre(9, 10, 11));
  EXPECT_THAT(allowed_after({8, 1}, rules, 1.2f), ElementsAre(0, 1, 2, 3, 4, 9, 10, 11));
}

TEST(SpeechRules, AreCheckedAgainstTheVocabulary) {
  auto rules = rules_with_times();
  rules->validate(kVocab);
  EXPECT_THROW(rules->validate(kZero), Error);
  rules->never.push_back(-1);
  EXPECT_THROW(rules->validate(kVocab), Error);
}

}  // namespace
}  // namespace quern
