// SPDX-License-Identifier: Apache-2.0
// Tools and reasoning from a request to its answer, with a scripted model.
#include "api/tool_use.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "api/answer_stream.h"
#include "api/api_error.h"
#include "api/generation_job.h"
#include "api/scripted_service.h"

namespace quern {
namespace {

constexpr const char* kTools =
    R"(, "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
                   {"type": "function", "function": {"name": "g"}}])";
constexpr const char* kAnswer =
    "<think>\nhm\n</think>\n\nI call.\n<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": "
    "\"é\"}}</tool_call>\n<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>";

class ToolUseTest : public testing::Test {
 protected:
  ToolUseTest() {
    service_.set_parsers("hermes", "qwen3");
    service_.set_script(reply(kAnswer));
  }

  GenerationJob chat(const std::string& fields) const {
    const std::string body = R"({"messages": [{"role": "user", "content": "hi"}])" + fields + "}";
    return chat_job(parse_json(body, "body"),
                    {.service = service_, .id = "r1", .created = 1234, .seed = 5});
  }

  Json choice(const std::string& fields) {
    const GenerationJob job = chat(fields);
    const auto generation = job.submit(service_, "r1");
    std::vector<TextDelta> answers(static_cast<size_t>(job.choice_count()));
    for (auto& [index, delta] : generation->poll())
      answers[static_cast<size_t>(index)].append(std::move(delta));
    EXPECT_TRUE(generation->is_finished());
    return parse_json(job.format->whole(answers, generation->usage()), "answer")["choices"][0];
  }

  // The message that the deltas of a stream make when a client joins them, with its finish_reason.
  Json joined(const std::string& fields) {
    const GenerationJob job = chat(fields + R"(, "stream": true)");
    const auto generation = job.submit(service_, "r1");
    AnswerStream stream(*job.format, job.stream_options, *generation, job.shows_tokens);
    Json out = {{"content", ""}, {"reasoning", ""}, {"tool_calls", Json::array()}};
    for (const ServerEvent& event : stream.events(generation->poll())) {
      const Json chunk = parse_json(event.data, "chunk")["choices"][0];
      const Json& delta = chunk["delta"];
      for (const char* key : {"content", "reasoning"})
        if (delta.contains(key))
          out[key] = out[key].get<std::string>() + delta[key].get<std::string>();
      if (delta.contains("tool_calls")) join_calls(out["tool_calls"], delta["tool_calls"]);
      out["finish_reason"] = chunk["finish_reason"];
    }
    return out;
  }

  static void join_calls(Json& calls, const Json& pieces) {
    for (Json piece : pieces) {
      const size_t index = piece["index"].get<size_t>();
      piece.erase("index");
      if (index == calls.size()) {
        calls.push_back(piece);
        continue;
      }
      Json& arguments = calls[index]["function"]["arguments"];
      arguments = arguments.get<std::string>() + piece["function"]["arguments"].get<std::string>();
    }
  }

  std::string param_of(const std::string& fields) {
    try {
      chat(fields);
    } catch (const RequestError& e) {
      return api_error_of(e).param;
    }
    return "none";
  }

  ScriptedService service_;
};

TEST_F(ToolUseTest, CallsAndReasoningHaveTheShapeThatClientsRead) {
  const Json answer = choice(kTools);
  const Json& message = answer["message"];
  EXPECT_EQ(answer["finish_reason"], "tool_calls");
  EXPECT_EQ(message["content"], "I call.");
  EXPECT_EQ(message["reasoning"], "hm");
  EXPECT_EQ(message["reasoning_content"], "hm");
  ASSERT_EQ(message["tool_calls"].size(), 2u);
  const Json& call = message["tool_calls"][0];
  EXPECT_EQ(call["type"], "function");
  EXPECT_TRUE(call["id"].get<std::string>().starts_with("call_"));
  EXPECT_EQ(call["function"]["name"], "f");
  EXPECT_EQ(call["function"]["arguments"], "{\"x\": \"é\"}");
  EXPECT_FALSE(call.contains("index"));
}

TEST_F(ToolUseTest, StreamedEqualsWhole) {
  for (const std::string& fields : {std::string(),
                                    std::string(R"(, "include_reasoning": false)"),
                                    std::string(R"(, "parallel_tool_calls": false)")}) {
    const Json whole = choice(kTools + fields);
    const Json stream = joined(kTools + fields);
    EXPECT_EQ(stream["finish_reason"], whole["finish_reason"]);
    EXPECT_EQ(stream["content"], whole["message"]["content"]);
    EXPECT_EQ(stream["tool_calls"], whole["message"]["tool_calls"]);
    EXPECT_EQ(stream["reasoning"], whole["message"].value("reasoning", Json("")));
  }
}

TEST_F(ToolUseTest, OneCallEndsTheAnswerWhereNoMoreAreWanted) {
  const Json answer = choice(std::string(kTools) + R"(, "parallel_tool_calls": false)");
  EXPECT_EQ(answer["message"]["tool_calls"].size(), 1u);
  EXPECT_EQ(answer["finish_reason"], "tool_calls");
  EXPECT_EQ(service_.cancelled(), 1u);  // the engine would go on
}

TEST_F(ToolUseTest, WithoutToolsCallsAreText) {
  for (const std::string& fields :
       {std::string(), std::string(kTools) + R"(, "tool_choice": "none")"}) {
    const Json answer = choice(fields);
    EXPECT_EQ(answer["finish_reason"], "stop");
    EXPECT_FALSE(answer["message"].contains("tool_calls"));
    EXPECT_TRUE(
        answer["message"]["content"].get<std::string>().starts_with("I call.\n<tool_call>"));
  }
}

TEST_F(ToolUseTest, ReasoningIsDroppedOrLeftInTheTextOnRequest) {
  const Json hidden = choice(R"(, "include_reasoning": false)")["message"];
  EXPECT_FALSE(hidden.contains("reasoning"));
  EXPECT_TRUE(hidden["content"].get<std::string>().starts_with("I call."));
  const Json raw = choice(R"(, "separate_reasoning": false)")["message"];
  EXPECT_FALSE(raw.contains("reasoning"));
  EXPECT_TRUE(raw["content"].get<std::string>().starts_with("<think>\nhm"));
}

TEST_F(ToolUseTest, LogprobsStandForAllTokens) {
  const Json answer = choice(std::string(kTools) + R"(, "logprobs": true)");
  std::string text;
  for (const Json& token : answer["logprobs"]["content"])
    for (const Json& byte : token["bytes"]) text += static_cast<char>(byte.get<int>());
  EXPECT_EQ(text, std::string(kAnswer) + "<eos>");
}

TEST_F(ToolUseTest, ACutOffAnswerSaysSo) {
  const Json answer = choice(std::string(kTools) + R"(, "max_tokens": 60)");
  EXPECT_EQ(answer["finish_reason"], "length");
  EXPECT_TRUE(answer["message"]["content"].get<std::string>().starts_with("I call.\n<tool_call>"));
}

TEST_F(ToolUseTest, ChoicesHaveIdsOfTheirOwn) {
  const GenerationJob job = chat(std::string(kTools) + R"(, "n": 2)");
  const auto generation = job.submit(service_, "r1");
  std::map<int, std::string> ids;
  for (auto& [index, delta] : generation->poll())
    for (const ToolCallDelta& call : delta.tool_calls)
      if (!call.id.empty() && call.index == 0) ids[index] = call.id;
  ASSERT_EQ(ids.size(), 2u);
  EXPECT_NE(ids[0], ids[1]);
}

TEST_F(ToolUseTest, WrongChoicesAreRefused) {
  const std::string tools = kTools;
  for (const std::string& fields :
       {tools + R"(, "tool_choice": "any")",
        tools + R"(, "tool_choice": 3)",
        tools + R"(, "tool_choice": {"type": "function"})",
        tools + R"(, "tool_choice": {"type": 1, "function": {"name": "f"}})",
        tools + R"(, "tool_choice": {"type": "function", "function": {"name": "h"}})",
        std::string(R"(, "tool_choice": "required")")})
    EXPECT_EQ(param_of(fields), "tool_choice") << fields;
  EXPECT_EQ(param_of(R"(, "tools": [{"function": {"name": 5}}])"), "tools");
  EXPECT_EQ(param_of(R"(, "tools": [{"function": {"name": "f", "parameters": []}}])"), "tools");
}

}  // namespace
}  // namespace quern
