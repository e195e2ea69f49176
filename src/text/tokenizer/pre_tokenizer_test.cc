// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace quern {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> split(SplitStep step, std::string_view text) {
  PreTokenizer pre_tokenizer;
  pre_tokenizer.add(std::move(step));
  const Pieces pieces = pre_tokenizer.split(text);
  return {pieces.views.begin(), pieces.views.end()};
}

TEST(PreTokenizer, Behaviors) {
  const auto at = [](SplitBehavior behavior) {
    return split(split_at_regex("-", behavior), "the-final--countdown");
  };
  EXPECT_THAT(at(SplitBehavior::removed), ElementsAre("the", "final", "countdown"));
  EXPECT_THAT(at(SplitBehavior::isolated), ElementsAre("the", "-", "final", "-", "-", "countdown"));
  EXPECT_THAT(at(SplitBehavior::merged_with_previous),
              ElementsAre("the-", "final-", "-", "countdown"));
  EXPECT_THAT(at(SplitBehavior::merged_with_next), ElementsAre("the", "-final", "-", "-countdown"));
  EXPECT_THAT(at(SplitBehavior::contiguous), ElementsAre("the", "-", "final", "--", "countdown"));
}

TEST(PreTokenizer, InvertedSplitKeepsWhatDoesNotMatch) {
  SplitStep step = split_at_regex(R"(\w+)", SplitBehavior::removed);
  step.inverts = true;
  EXPECT_THAT(split(std::move(step), "one, two"), ElementsAre("one", "two"));
}

TEST(PreTokenizer, Classes) {
  EXPECT_THAT(split(split_at_class(SplitClass::numeric, SplitBehavior::isolated), "a12½b"),
              ElementsAre("a", "1", "2", "½", "b"));
  EXPECT_THAT(split(split_at_class(SplitClass::punctuation, SplitBehavior::isolated), "a+b…c"),
              ElementsAre("a", "+", "b", "…", "c"));
  EXPECT_THAT(split(split_at_class(SplitClass::space, SplitBehavior::removed), " a\u3000b "),
              ElementsAre("a", "b"));
}

TEST(PreTokenizer, PrefixSpaceGoesBeforeEveryPieceOfItsStep) {
  SplitStep step;
  step.adds_prefix_space = true;
  EXPECT_THAT(split(std::move(step), "a b"), ElementsAre(" a b"));
  SplitStep same;
  same.adds_prefix_space = true;
  EXPECT_THAT(split(std::move(same), " a"), ElementsAre(" a"));
}

TEST(PreTokenizer, EmptyTextHasNoWords) {
  EXPECT_TRUE(split(split_at_regex("a"), "").empty());
}

// Texts that bring every alternative of the known patterns into play, at the end of the text and
// before other things.
std::vector<std::string> awkward_texts() {
  static const std::string parts[] = {"a",  "B",   "é",      "世",  "ア",     "\u0301", "1",  "½",
                                      " ",  "  ",  "\u3000", "\n",  "\r",     "\t",     "'s", "'S",
                                      "'ſ", "'ll", "'R",     "'re", "!",      "+=",     "_",  "👍",
                                      "ǅ",  "ʰ",   "\u200D", "ABc", "\u00A0", "々"};
  std::vector<std::string> texts;
  uint64_t state = 7;
  for (int i = 0; i < 3000; ++i) {
    std::string& text = texts.emplace_back();
    for (int length = 1 + i % 9; length > 0; --length) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      text += parts[(state >> 33) % std::size(parts)];
    }
  }
  return texts;
}

TEST(WordPatterns, HandWrittenMatchersAgreeWithTheRegexEngine) {
  const auto texts = awkward_texts();
  for (const std::string_view pattern : {patterns::kGpt2,
                                         patterns::kQwen2,
                                         patterns::kLlama3,
                                         patterns::kKimi,
                                         patterns::kUpToThreeNumbers,
                                         patterns::kKanaAndHan,
                                         patterns::kDeepSeekWords,
                                         patterns::kNumber,
                                         patterns::kTrailingSpace}) {
    ASSERT_NE(find_word_pattern(pattern), nullptr);
    SplitStep step;
    step.regex.emplace(std::string(pattern));
    PreTokenizer by_engine, by_hand;
    by_engine.add(std::move(step));
    by_hand.add(split_at_regex(pattern));
    for (const std::string& text : texts)
      ASSERT_EQ(by_hand.split(text).views, by_engine.split(text).views)
          << pattern << "\non: " << text;
  }
}

TEST(WordPatterns, LongRunsAreReadInLinearTime) {
  constexpr size_t kBytes = 1 << 20;
  for (const std::string_view pattern : {patterns::kGpt2,
                                         patterns::kQwen2,
                                         patterns::kLlama3,
                                         patterns::kKimi,
                                         patterns::kDeepSeekWords,
                                         patterns::kTrailingSpace}) {
    for (const char c : {'a', 'A', ' ', '\n', '1', '!', '\''}) {
      const auto pieces = split(split_at_regex(pattern), std::string(kBytes, c) + "z");
      size_t bytes = 0;
      for (const std::string& piece : pieces) bytes += piece.size();
      EXPECT_EQ(bytes, kBytes + 1) << pattern << " on " << c;
    }
  }
}

TEST(Regex, BadPatternsAndRunawayOnesAreErrors) {
  EXPECT_THROW(Regex("(a"), Error);
  EXPECT_THROW(Regex(std::string(70000, 'a')), Error);
  const Regex runaway("(?:a|aa)+$");
  try {
    runaway.find_all(std::string(4000, 'a') + '!');
    FAIL() << "did not throw";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::exhausted);
  }
}

TEST(Regex, AnEmptyMatchAfterAMatchIsSkipped) {
  std::vector<std::pair<size_t, size_t>> found;
  for (const Span& s : Regex("a*").find_all("baab")) found.emplace_back(s.begin, s.end);
  EXPECT_THAT(found, ElementsAre(std::pair(0, 0), std::pair(1, 3), std::pair(4, 4)));
}

}  // namespace
}  // namespace quern
