// SPDX-License-Identifier: Apache-2.0
#include "eval/answer_match.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace quern::eval {
namespace {

TaskItem item(std::vector<std::string> answers, AnswerMatch match, bool ignores_case = false) {
  TaskItem out;
  out.answers = std::move(answers);
  out.match = match;
  out.ignores_case = ignores_case;
  return out;
}

bool is_right(const TaskItem& item, std::string_view answer) {
  return AnswerMatcher(item).is_right(answer);
}

TEST(AnswerMatch, ExactIsEqualButForBlanksAround) {
  const TaskItem paris = item({"Paris", " the Seine \n"}, AnswerMatch::exact);
  EXPECT_TRUE(is_right(paris, "Paris"));
  EXPECT_TRUE(is_right(paris, " \n Paris\t\r\n"));
  EXPECT_TRUE(is_right(paris, "the Seine"));
  for (const char* wrong : {"", "paris", "Paris.", "Pari s", "Paris the Seine"})
    EXPECT_FALSE(is_right(paris, wrong)) << wrong;
}

TEST(AnswerMatch, CaseOfAsciiAloneCanBeIgnored) {
  const TaskItem street = item({"STRAßE Ä"}, AnswerMatch::exact, true);
  EXPECT_TRUE(is_right(street, "straße Ä"));
  EXPECT_FALSE(is_right(street, "straße ä"));
}

TEST(AnswerMatch, PrefixBeginsWithOneOfThem) {
  const TaskItem yes = item({"yes", "right"}, AnswerMatch::prefix, true);
  EXPECT_TRUE(is_right(yes, "  Yes, it is"));
  EXPECT_TRUE(is_right(yes, "RIGHT"));
  EXPECT_FALSE(is_right(yes, "ye"));
  EXPECT_FALSE(is_right(yes, "oh yes"));
}

TEST(AnswerMatch, RegexHoldsForTheWholeAnswer) {
  const TaskItem number = item({R"(\d+|none)"}, AnswerMatch::regex);
  EXPECT_TRUE(is_right(number, " 42\n"));
  EXPECT_TRUE(is_right(number, "none"));
  for (const char* wrong : {"42 apples", "x42", "None", "", "4\n2"})
    EXPECT_FALSE(is_right(number, wrong)) << wrong;
  EXPECT_TRUE(is_right(item({".*apples.*"}, AnswerMatch::regex), "two\nApples?\nno apples\n."));
  EXPECT_TRUE(is_right(item({"apples"}, AnswerMatch::regex, true), "APPLES"));
}

TEST(AnswerMatch, AnExpressionThatNeverEndsIsWrong) {
  const std::string many(40'000, 'a');
  EXPECT_FALSE(is_right(item({"(a|aa)+b"}, AnswerMatch::regex), many));
}

TEST(AnswerMatch, WhatCannotBeUsedIsSaid) {
  for (const char* bad : {"(", "a)(b", "[", "a\\", "x)|(?:y"})
    EXPECT_THROW(AnswerMatcher::check(item({bad}, AnswerMatch::regex)), Error) << bad;
  EXPECT_THROW(AnswerMatcher::check(item({"a", "b"}, AnswerMatch::regex)), Error);
  EXPECT_THROW(AnswerMatcher::check(item({" \n"}, AnswerMatch::prefix)), Error);
  EXPECT_NO_THROW(AnswerMatcher::check(item({"a|b"}, AnswerMatch::regex)));
}

}  // namespace
}  // namespace quern::eval
