// SPDX-License-Identifier: Apache-2.0
// /v1/responses: what it makes of a request, how it shows an answer.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/dialect_rig.h"
#include "api/responses_format.h"
#include "api/responses_request.h"

namespace quern {
namespace {

Json responses_chat(const std::string& body) {
  return ResponsesRequest::parse(json(body), nullptr, "").chat.body();
}

TEST(Responses, ItemsBecomeAChat) {
  const Json chat = responses_chat(R"({"instructions": "Be brief", "max_output_tokens": 9,
    "reasoning": {"effort": "low"}, "min_p": 0.1, "include": ["message.output_text.logprobs"],
    "top_logprobs": 2,
    "tools": [{"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": true}],
    "tool_choice": {"type": "function", "name": "look"},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}},
    "input": [
      {"role": "developer", "content": "And kind"},
      {"role": "user", "content": [{"type": "input_text", "text": "see"},
                                   {"type": "input_image", "image_url": "http://x/y", "detail": "low"}]},
      {"type": "reasoning", "id": "rs", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
      {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look"}]},
      {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{\"x\": 1}"},
      {"type": "function_call_output", "call_id": "c1", "output": "seen"}]})");
  const Json& messages = chat["messages"];
  ASSERT_EQ(messages.size(), 4u);
  EXPECT_EQ(messages[0]["content"], "Be brief\n\nAnd kind");
  EXPECT_EQ(messages[1]["content"][1],
            json(R"({"type": "image_url", "image_url": {"url": "http://x/y", "detail": "low"}})"));
  EXPECT_EQ(messages[2]["reasoning_content"], "hm");
  EXPECT_EQ(messages[2]["content"], "I look");
  EXPECT_EQ(messages[2]["tool_calls"][0]["function"]["arguments"], json(R"({"x": 1})"));
  EXPECT_EQ(messages[3], json(R"({"role": "tool", "tool_call_id": "c1", "content": "seen"})"));
  EXPECT_EQ(chat["max_tokens"], 9);
  EXPECT_EQ(chat["reasoning_effort"], "low");
  EXPECT_EQ(chat["min_p"], 0.1);
  EXPECT_EQ(chat["logprobs"], true);
  EXPECT_EQ(chat["top_logprobs"], 2);
  EXPECT_EQ(chat["tools"][0]["function"]["strict"], true);
  EXPECT_EQ(chat["tool_choice"]["function"]["name"], "look");
  EXPECT_EQ(chat["response_format"]["json_schema"]["name"], "n");
}

TEST(Responses, RefusalsNameTheField) {
  const auto field = [](const std::string& rest) {
    return refused_field([&] { responses_chat(R"({"input": "x")" + rest + "}"); });
  };
  EXPECT_EQ(field(""), "");
  EXPECT_EQ(field(R"(, "background": false, "truncation": "disabled")"), "");
  EXPECT_EQ(field(R"(, "background": true)"), "background");
  EXPECT_EQ(field(R"(, "truncation": "auto")"), "truncation");
  EXPECT_EQ(field(R"(, "tools": [{"type": "web_search"}])"), "tools[0].type");
  EXPECT_EQ(field(R"(, "max_tokens": 5)"), "max_tokens");
  EXPECT_EQ(field(R"(, "metadata": {"a": 1})"), "metadata");
  EXPECT_EQ(field(R"(, "previous_response_id": "resp_x")"), "previous_response_id");
  EXPECT_EQ(field(R"(, "include": ["nonsense"])"), "include");
  EXPECT_EQ(field(R"(, "n": 2)"), "n");
  const auto item = [](const std::string& value) {
    return refused_field([&] { responses_chat(R"({"input": [)" + value + "]}"); });
  };
  EXPECT_EQ(item(R"({"type": "item_reference", "id": "x"})"), "input[0].type");
  EXPECT_EQ(item(R"({"role": "user", "content": [{"type": "input_file"}]})"),
            "input[0].content[0].type");
  EXPECT_EQ(item(R"({"role": "judge", "content": "x"})"), "input[0].role");
  EXPECT_EQ(item(R"({"type": "function_call", "call_id": "c", "name": "f", "arguments": "["})"),
            "input[0].arguments");
  EXPECT_EQ(item("7"), "input[0]");
  EXPECT_EQ(refused_field([] { responses_chat("{}"); }), "input");
}

// Puts a response together again from its events, as a client does.
Json replayed(const ServerEvents& events) {
  Json response;
  std::string text;
  for (size_t i = 0; i < events.size(); ++i) {
    const Json data = json(events[i].data);
    EXPECT_EQ(data["type"], events[i].name);
    EXPECT_EQ(data["sequence_number"], i);
    const std::string& type = events[i].name;
    if (type == "response.created") response = data["response"];
    if (type == "response.output_item.added") response["output"].push_back(data["item"]);
    if (type.ends_with(".delta")) text += data["delta"].get<std::string>();
    if (type.ends_with("text.done")) {
      EXPECT_EQ(data["text"], text);
      text.clear();
    }
    if (type.ends_with("arguments.done")) {
      EXPECT_EQ(data["arguments"], text);
      text.clear();
    }
    if (type == "response.output_item.done") {
      const size_t index = data["output_index"];
      EXPECT_EQ(response["output"][index]["id"], data["item"]["id"]);
      response["output"][index] = data["item"];
    }
    if (i + 1 == events.size()) {
      EXPECT_EQ(data["response"]["output"], response["output"]);
      response = data["response"];
    }
  }
  return response;
}

std::unique_ptr<AnswerFormat> response_format() {
  ResponseSheet sheet;
  sheet.header = {"resp_1", 1, "m"};
  sheet.shown = std::make_shared<const Json>(Json::object());
  return responses_format(std::move(sheet));
}

TEST(Responses, AStreamSaysTheSameAsTheWhole) {
  const ServerEvents events = streamed(*response_format(), rich_answer());
  EXPECT_EQ(events.back().name, "response.completed");
  Json one = replayed(events);
  const TextDelta answer = joined(rich_answer());
  Json other = json(response_format()->whole(
      {&answer, 1}, {.prompt_tokens = 7, .completion_tokens = 3, .cached_tokens = 2}));
  ASSERT_EQ(one["output"].size(), 4u);
  for (Json* response : {&one, &other}) {
    response->erase("completed_at");
    for (Json& item : (*response)["output"]) item.erase("id");  // drawn anew
  }
  EXPECT_EQ(one, other);
  EXPECT_EQ(one["output"][0]["content"][0]["text"], "Let me think");
  EXPECT_EQ(one["output"][1]["content"][0]["type"], "output_text");
  EXPECT_EQ(one["output"][2]["arguments"], "{\"x\":1}");
  EXPECT_EQ(one["usage"]["input_tokens_details"]["cached_tokens"], 2);
}

TEST(Responses, WhatIsCutOffIsIncomplete) {
  std::vector<TextDelta> deltas(1);
  deltas[0].text = "Par";
  deltas[0].finish = FinishReason::length;
  const ServerEvents events = streamed(*response_format(), deltas);
  const Json response = replayed(events);
  EXPECT_EQ(events.back().name, "response.incomplete");
  EXPECT_EQ(response["status"], "incomplete");
  EXPECT_EQ(response["incomplete_details"]["reason"], "max_output_tokens");
  EXPECT_EQ(response["output"][0]["status"], "incomplete");
}

TEST(Responses, AFailureKeepsWhatWasThere) {
  const auto format = response_format();
  ServerEvents out;
  TextDelta delta;
  delta.text = "Par";
  format->chunk(0, delta, nullptr, out);
  format->failure(make_api_error(503, "lost"), out);
  EXPECT_EQ(out.back().name, "response.failed");
  const Json response = json(out.back().data)["response"];
  EXPECT_EQ(response["status"], "failed");
  EXPECT_EQ(response["error"]["message"], "lost");
  EXPECT_EQ(response["output"][0]["content"][0]["text"], "Par");
}

}  // namespace
}  // namespace quern
