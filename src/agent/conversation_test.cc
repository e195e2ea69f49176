// SPDX-License-Identifier: Apache-2.0
#include "agent/conversation.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "agent/model_client.h"
#include "base/error_of.h"

namespace quern::agent {
namespace {

std::tm day() {
  std::tm out{};
  out.tm_year = 126, out.tm_mon = 10, out.tm_mday = 7, out.tm_wday = 6;
  return out;
}

TEST(Conversation, TheSystemPromptBeginsWithTheDay) {
  EXPECT_TRUE(system_prompt("zh", day()).starts_with("今天的日期是: 2026年11月07日 星期六\n"));
  EXPECT_TRUE(system_prompt("en", day()).starts_with("The current date: 2026-11-07, Saturday\n"));
  EXPECT_EQ(with_date("a {date} b", "en", day()), "a 2026-11-07, Saturday b");
  EXPECT_EQ(error_of([] { system_prompt("fr", day()); }),
            "invalid_argument: prompts are written in zh and en, not in fr");
}

TEST(Conversation, ScreenInfoIsWhatPythonPrints) {
  EXPECT_EQ(screen_info("微信", {}), R"({"current_app": "微信"})");
  EXPECT_EQ(screen_info("A \"b\"", {{"note", "x\ny"}}),
            R"({"current_app": "A \"b\"", "note": "x\ny"})");
}

// Byte for byte what a server is sent on the second step.
TEST(Conversation, OnlyTheNewestScreenIsAPicture) {
  Conversation talk("SYS", "Open the mail.", 0);
  talk.show("png1", "System Home", {});
  talk.answered("go", "do(action=\"Home\")");
  talk.show("png2", "Gmail", {});
  EXPECT_EQ(
      json_text(talk.request("m", {})),
      R"({"model":"m","messages":[{"role":"system","content":"SYS"},)"
      R"({"role":"user","content":[{"type":"text","text":"Open the mail.\n\n{\"current_app\": \"System Home\"}"}]},)"
      R"({"role":"assistant","content":"<think>go</think><answer>do(action=\"Home\")</answer>"},)"
      R"({"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,cG5nMg=="}},)"
      R"({"type":"text","text":"** Screen Info **\n\n{\"current_app\": \"Gmail\"}"}]}],)"
      R"("max_tokens":3000,"temperature":0.0,"top_p":0.85,"frequency_penalty":0.2,"stream":false})");
}

TEST(Conversation, OldTurnsGoButTheGoalStays) {
  Conversation talk("SYS", "GOAL", 2);
  for (int i = 0; i < 6; ++i) {
    talk.show("p", "App" + std::to_string(i), {});
    talk.answered("t", std::to_string(i));
  }
  talk.show("p", "Last", {});
  const Json messages = talk.request("m", {})["messages"];
  ASSERT_EQ(messages.size(), 8u);  // system, goal, two kept, the newest
  EXPECT_NE(messages[1]["content"][0]["text"].get<std::string>().find("GOAL"), std::string::npos);
  EXPECT_NE(messages[3]["content"][0]["text"].get<std::string>().find("App4"), std::string::npos);
}

TEST(ModelClient, ReadsWhatServersAnswer) {
  const auto answer = [](const char* text) { return answer_in(parse_json(text, "test")); };
  EXPECT_EQ(
      answer(R"({"choices":[{"message":{"content":"x","reasoning_content":"y"}}]})").reasoning,
      "y");
  EXPECT_EQ(answer(R"({"choices":[{"message":{"content":null,"reasoning":"z"}}]})").reasoning, "z");
  EXPECT_EQ(
      answer(
          R"({"choices":[{"message":{"tool_calls":[{"function":{"name":"do","arguments":"{}"}}]}}]})")
          .calls.size(),
      1u);
  for (const char* bad : {"{}", "[]", R"({"choices":[]})", R"({"choices":[{"text":"x"}]})"})
    EXPECT_NE(error_of([&] { answer(bad); }).find("no message"), std::string::npos) << bad;
  EXPECT_EQ(openai_base_url("http://h:1/"), "http://h:1/v1");
  EXPECT_EQ(openai_base_url("https://h/api/v4//"), "https://h/api/v4");
}

}  // namespace
}  // namespace quern::agent
