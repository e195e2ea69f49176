// SPDX-License-Identifier: Apache-2.0
#include "agent/sensitive.h"

#include <gtest/gtest.h>

#include "agent/view_labels.h"

namespace quern::agent {
namespace {

TEST(Sensitive, WordsOfPayingSendingAndDeleting) {
  for (const char* text : {"Pay 12.50",
                           "BUY NOW",
                           "Place order",
                           "Send",
                           "Send message",
                           "Delete all",
                           "立即支付",
                           "发送",
                           "删除好友"})
    EXPECT_TRUE(names_sensitive_deed(text)) << text;
  for (const char* text :
       {"Papaya", "Sender", "Wi-Fi", "Display", "Borders", "搜索", "Add to cart", ""})
    EXPECT_FALSE(names_sensitive_deed(text)) << text;
}

TEST(Sensitive, TheLabelCountsThenTheThoughtAndTheModelsOwnWord) {
  Action tap{.kind = ActionKind::tap};
  EXPECT_EQ(question_about(tap, "I look around", "Pay 3.00"), "Tap \"Pay 3.00\"");
  EXPECT_EQ(question_about(tap, "before I pay, I open the list", "List"), "");
  EXPECT_EQ(question_about(tap, "I pay", ""), "Tap: I pay");
  EXPECT_EQ(question_about(tap, "next", ""), "");
  tap.asks = true;
  tap.text = "private";
  EXPECT_EQ(question_about(tap, "next", "List"), "Tap \"List\": private");
  EXPECT_EQ(question_about({.kind = ActionKind::back}, "I delete it", ""), "");
}

TEST(Sensitive, LabelsComeFromTheSmallestThingThatCanBeTapped) {
  const std::string dump =
      R"(<?xml version='1.0'?><hierarchy><node text="" content-desc="" clickable="true" bounds="[0,0][100,100]">)"
      R"(<node text="" content-desc="Send &quot;it&quot;" clickable="true" bounds="[10,10][50,50]">)"
      R"(<node text="a &amp;lt; b" content-desc="" clickable="false" bounds="[12,12][20,20]" /></node></node></hierarchy>UI dumped)";
  EXPECT_EQ(label_at(dump, {15, 15}), "Send \"it\" a &lt; b");
  EXPECT_EQ(label_at(dump, {50, 50}), "Send \"it\" a &lt; b");  // of what the whole holds
  EXPECT_EQ(label_at(dump, {200, 200}), "");
  EXPECT_EQ(label_at("ERROR: could not get idle state.", {1, 1}), "");
  EXPECT_EQ(label_at("<node bounds=\"[1,2\" <node ", {1, 1}), "");
}

}  // namespace
}  // namespace quern::agent
