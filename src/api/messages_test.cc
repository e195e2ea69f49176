// SPDX-License-Identifier: Apache-2.0
// /v1/messages: what it makes of a request, how it shows an answer.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/dialect_rig.h"
#include "api/messages_format.h"
#include "api/messages_request.h"

namespace quern {
namespace {

Json chat_of(const std::string& messages_body) {
  return chat_of_messages(json(messages_body), false).body();
}

TEST(Messages, BecomeAChat) {
  const Json chat = chat_of(R"({"model": "m", "max_tokens": 9, "top_k": 3, "stop_sequences": ["x"],
    "system": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief"}],
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "tools": [{"name": "look", "description": "d", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
    "messages": [
      {"role": "user", "content": "hi"},
      {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "I look"},
        {"type": "tool_use", "id": "c1", "name": "look", "input": {"x": 1}}]},
      {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "seen"}]},
        {"type": "text", "text": "and?"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}]}]})");
  const Json& messages = chat["messages"];
  ASSERT_EQ(messages.size(), 5u);
  EXPECT_EQ(messages[0], json(R"({"role": "system", "content": "Be\nbrief"})"));
  EXPECT_EQ(messages[1], json(R"({"role": "user", "content": "hi"})"));
  EXPECT_EQ(messages[2]["reasoning_content"], "hm");
  EXPECT_EQ(messages[2]["content"], "I look");
  EXPECT_EQ(messages[2]["tool_calls"][0]["function"]["arguments"], json(R"({"x": 1})"));
  EXPECT_EQ(messages[3], json(R"({"role": "tool", "tool_call_id": "c1", "content": "seen"})"));
  EXPECT_EQ(messages[4]["content"][1]["image_url"]["url"], "data:image/png;base64,QUJD");
  EXPECT_EQ(chat["tools"][0]["function"]["parameters"], json(R"({"type": "object"})"));
  EXPECT_EQ(chat["tool_choice"], "required");
  EXPECT_EQ(chat["parallel_tool_calls"], false);
  EXPECT_EQ(chat["chat_template_kwargs"]["enable_thinking"], true);
  EXPECT_EQ(chat["stop"], json(R"(["x"])"));
  EXPECT_EQ(chat["top_k"], 3);
  EXPECT_EQ(chat["max_tokens"], 9);
  EXPECT_FALSE(chat.contains("continue_final_message"));
}

TEST(Messages, AnAnswerThatIsBegunIsCarriedOn) {
  const Json chat = chat_of(R"({"max_tokens": 9, "messages": [{"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": "It is"}]})");
  EXPECT_EQ(chat["continue_final_message"], true);
}

TEST(Messages, RefusalsNameTheField) {
  const auto field = [](const std::string& rest) {
    return refused_field([&] {
      chat_of(R"({"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}])" + rest + "}");
    });
  };
  EXPECT_EQ(field(""), "");
  EXPECT_EQ(field(R"(, "tools": [{"type": "web_search_20250305", "name": "w"}])"), "tools[0].type");
  EXPECT_EQ(field(R"(, "tool_choice": {"type": "maybe"})"), "tool_choice.type");
  EXPECT_EQ(field(R"(, "mcp_servers": [{"url": "x"}])"), "mcp_servers");
  EXPECT_EQ(field(R"(, "stop": "x")"), "stop");
  EXPECT_EQ(field(R"(, "n": 2)"), "n");
  EXPECT_EQ(field(R"(, "thinking": {"type": "often"})"), "thinking.type");
  EXPECT_EQ(field(R"(, "output_config": {"format": {"type": "regex"}})"),
            "output_config.format.type");
  const auto content = [](const std::string& role, const std::string& block) {
    return refused_field([&] {
      chat_of(R"({"max_tokens": 9, "messages": [{"role": ")" + role + R"(", "content": [)" + block +
              "]}]}");
    });
  };
  EXPECT_EQ(content("user", R"({"type": "document"})"), "messages[0].content[0].type");
  EXPECT_EQ(content("user", R"({"type": "text"})"), "messages[0].content[0].text");
  EXPECT_EQ(content("assistant", R"({"type": "image"})"), "messages[0].content[0].type");
  EXPECT_EQ(content("system", R"({"type": "text", "text": "x"})"), "messages[0].role");
  EXPECT_EQ(refused_field([] { chat_of(R"({"messages": [{"role": "user", "content": "x"}]})"); }),
            "max_tokens");
  EXPECT_EQ(refused_field([] { chat_of(R"({"max_tokens": 1, "messages": []})"); }), "messages");
}

TEST(Messages, AnswersHaveBlocks) {
  const auto format = messages_format({"msg_1", 1, "m"});
  const TextDelta answer = joined(rich_answer());
  const Json body = json(format->whole(
      {&answer, 1}, {.prompt_tokens = 7, .completion_tokens = 3, .cached_tokens = 2}));
  EXPECT_EQ(body["content"], json(R"([
    {"type": "thinking", "thinking": "Let me think", "signature": ""},
    {"type": "text", "text": "I will look."},
    {"type": "tool_use", "id": "call_a", "name": "look", "input": {"x": 1}},
    {"type": "tool_use", "id": "call_b", "name": "see", "input": {}}])"));
  EXPECT_EQ(body["stop_reason"], "tool_use");
  EXPECT_EQ(body["usage"]["input_tokens"], 5);
  EXPECT_EQ(body["usage"]["cache_read_input_tokens"], 2);
  EXPECT_EQ(body["usage"]["output_tokens"], 3);
}

TEST(Messages, AStreamSaysTheSameAsTheWhole) {
  const auto format = messages_format({"msg_1", 1, "m"});
  const ServerEvents events = streamed(*format, rich_answer());
  Json message;
  std::vector<std::string> inputs(4);
  for (const ServerEvent& event : events) {
    const Json data = json(event.data);
    EXPECT_EQ(data["type"], event.name);
    if (event.name == "message_start") message = data["message"];
    if (event.name == "content_block_start") {
      EXPECT_EQ(data["index"], message["content"].size());
      message["content"].push_back(data["content_block"]);
    }
    if (event.name == "content_block_delta") {
      const size_t index = data["index"];
      const Json& delta = data["delta"];
      Json& block = message["content"][index];
      if (delta["type"] == "text_delta")
        block["text"].get_ref<std::string&>() += delta["text"].get<std::string>();
      else if (delta["type"] == "thinking_delta")
        block["thinking"].get_ref<std::string&>() += delta["thinking"].get<std::string>();
      else
        inputs[index] += delta["partial_json"].get<std::string>();
    }
    if (event.name == "content_block_stop" && !inputs[data["index"]].empty())
      message["content"][data["index"].get<size_t>()]["input"] = json(inputs[data["index"]]);
    if (event.name == "message_delta") {
      message.update(data["delta"]);
      message["usage"] = data["usage"];
    }
  }
  EXPECT_EQ(events.back().name, "message_stop");
  const TextDelta answer = joined(rich_answer());
  EXPECT_EQ(message,
            json(messages_format({"msg_1", 1, "m"})
                     ->whole({&answer, 1},
                             {.prompt_tokens = 7, .completion_tokens = 3, .cached_tokens = 2})));
}

TEST(Messages, StopReasons) {
  const auto reason = [](TextDelta answer) {
    const Json body = json(messages_format({"msg_1", 1, "m"})->whole({&answer, 1}, {}));
    return body["stop_reason"].get<std::string>() + body["stop_sequence"].dump();
  };
  TextDelta answer;
  answer.finish = FinishReason::stop;
  EXPECT_EQ(reason(answer), "end_turnnull");
  answer.stop_reason = std::string("END");
  EXPECT_EQ(reason(answer), "stop_sequence\"END\"");
  answer.finish = FinishReason::length;
  answer.stop_reason = {};
  EXPECT_EQ(reason(answer), "max_tokensnull");
  // A call that was cut off still reaches the client.
  answer.tool_calls = {{.index = 0, .id = "c", .name = "f", .arguments = "{\"a"}};
  const Json body = json(messages_format({"msg_1", 1, "m"})->whole({&answer, 1}, {}));
  EXPECT_EQ(body["content"][0]["input"]["INVALID_JSON"], "{\"a");
}

TEST(Messages, ErrorsHaveTheirOwnBody) {
  const Json body = json(messages_error(make_api_error(429, "busy")));
  EXPECT_EQ(body["type"], "error");
  EXPECT_EQ(body["error"]["type"], "rate_limit_error");
  ServerEvents out;
  messages_format({"msg_1", 1, "m"})->failure(make_api_error(503, "lost"), out);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].name, "error");
  EXPECT_EQ(json(out[0].data)["error"]["type"], "overloaded_error");
}

}  // namespace
}  // namespace quern
