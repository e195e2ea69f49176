// SPDX-License-Identifier: Apache-2.0
#include "agent/action.h"

#include <gtest/gtest.h>

namespace quern::agent {
namespace {

ReadAnswer read(std::string content) {
  return read_answer({.content = std::move(content), .reasoning = {}, .calls = {}});
}

TEST(Action, ThoughtAndActionAreSplitAsPublished) {
  const ReadAnswer tagged =
      read("<think>I tap it.</think><answer>do(action=\"Tap\", element=[499,182])</answer>");
  EXPECT_EQ(tagged.thought, "I tap it.");
  EXPECT_EQ(tagged.words, "do(action=\"Tap\", element=[499,182])");
  ASSERT_TRUE(tagged.action);
  EXPECT_EQ(tagged.action->at, (Place{499, 182}));
  EXPECT_FALSE(tagged.action->asks);

  const ReadAnswer bare = read("Now back.\ndo(action=\"Back\")");
  EXPECT_EQ(bare.thought, "Now back.");
  EXPECT_EQ(bare.action->kind, ActionKind::back);

  const ReadAnswer both =
      read("<think>not do(action=\"Home\")</think>\n<answer>\ndo(action=\"Back\")\n</answer>");
  EXPECT_EQ(both.action->kind, ActionKind::back);
  EXPECT_EQ(read("Done. finish(message=\"All \"set\".\")").action->text, "All \"set\".");
}

TEST(Action, EveryActionOfTheLanguage) {
  const std::pair<const char*, ActionKind> cases[] = {
      {R"(do(action="Launch", app="Settings"))", ActionKind::launch},
      {R"(do(action="Tap", element=[1,2]))", ActionKind::tap},
      {R"(do(action="Double Tap", element=[1,2]))", ActionKind::double_tap},
      {R"(do(action="Long Press", element=[1,2]))", ActionKind::long_press},
      {R"(do(action="Type", text="x"))", ActionKind::type},
      {R"(do(action="Type_Name", text="Ann"))", ActionKind::type},
      {R"(do(action="Swipe", start=[1,2], end=[3,4]))", ActionKind::swipe},
      {R"(do(action="Back"))", ActionKind::back},
      {R"(do(action="Home"))", ActionKind::home},
      {R"(do(action="Wait", duration="2 seconds"))", ActionKind::wait},
      {R"(do(action="Take_over", message="x"))", ActionKind::take_over},
      {R"(do(action="Interact"))", ActionKind::interact},
      {R"(do(action="Note", message="True"))", ActionKind::note},
      {R"(do(action="Call_API", instruction="x"))", ActionKind::call_api},
      {R"(finish(message="x"))", ActionKind::finish}};
  for (const auto& [words, kind] : cases) {
    const ReadAnswer answer = read(words);
    ASSERT_TRUE(answer.action) << words << ": " << answer.why_not;
    EXPECT_EQ(answer.action->kind, kind) << words;
  }
  EXPECT_EQ(read(cases[9].first).action->wait_s, 2);
  EXPECT_EQ(read(R"(do(action="Wait", duration="nan"))").action->wait_s, 1);
  EXPECT_EQ(read(R"(do(action="Wait", duration=900))").action->wait_s, 60);
  EXPECT_TRUE(read(R"(do(action="Tap", element=[1,2], message="pay"))").action->asks);
}

TEST(Action, TextsKeepWhatTheModelWrote) {
  EXPECT_EQ(read(R"w(do(action="Type", text="say "hi", it's $(x)"))w").action->text,
            R"(say "hi", it's $(x))");
  EXPECT_EQ(read("do(action=\"Type\", text=\"one\ntwo\")").action->text, "one\ntwo");
}

TEST(Action, WhatIsNoneSaysWhy) {
  EXPECT_EQ(read("I cannot.").why_not, "the answer holds no action");
  EXPECT_EQ(read("").why_not, "the answer holds no action");
  EXPECT_EQ(read("do(action=\"Back\")\ndo(action=\"Home\")").why_not,
            "the answer holds 2 actions, not one");
  EXPECT_EQ(read("do(action=\"Jump\")").why_not, "there is no action Jump");
  EXPECT_EQ(read("do(action=\"Tap\", element=[1])").why_not, "element is not [x, y]");
  EXPECT_EQ(read("do(action=\"Tap\", element=[1,2,3,4])").why_not, "element is not [x, y]");
  EXPECT_EQ(read("do(action=\"Tap\", element=[1,2000])").why_not,
            "element lies outside of 0 to 999");
  EXPECT_EQ(read("do(action=\"Tap\", element=[-1,2])").why_not, "element lies outside of 0 to 999");
  EXPECT_EQ(read("do(action=\"Launch\")").why_not, "app is missing");
  EXPECT_EQ(read("do(action=\"finish\")").why_not, "there is no action finish");
}

TEST(Action, CallsOfAServerAreTheSame) {
  const ReadAnswer answer = read_answer(
      {.content = {},
       .reasoning = "why",
       .calls = {{.name = "do", .arguments = R"({"action": "Tap", "element": [5, 6]})"}}});
  EXPECT_EQ(answer.action->at, (Place{5, 6}));
  EXPECT_EQ(answer.thought, "why");
  EXPECT_EQ(answer.words, "do(action=\"Tap\", element=[5,6])");
}

TEST(Action, PlacesBecomePixelsAsPublished) {
  EXPECT_EQ(pixels_of({0, 0}, 1080, 2400), (Place{0, 0}));
  EXPECT_EQ(pixels_of({999, 999}, 1080, 2400), (Place{1078, 2397}));
  EXPECT_EQ(pixels_of({499, 182}, 1080, 1920), (Place{538, 349}));
  EXPECT_EQ(read("do(action=\"Tap\", element=[1000,1000])").action->at, (Place{999, 999}));
}

}  // namespace
}  // namespace quern::agent
