// SPDX-License-Identifier: Apache-2.0
// The jobs of dialects that are translated to chat requests, what is kept of them, batches.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/answer_blocks.h"
#include "api/batch_line.h"
#include "api/dialect_jobs.h"
#include "api/dialect_rig.h"
#include "api/field_origins.h"
#include "api/response_store.h"
#include "api/scripted_service.h"

namespace quern {
namespace {

class Dialects : public testing::Test {
 protected:
  JobContext context() {
    return {.service = service_,
            .id = "r1",
            .created = 1234,
            .seed = 5,
            .responses = &store_,
            .owner = "me"};
  }
  // Runs a job to its end and returns the body of its answer.
  Json run(GenerationJob job) {
    const auto generation = job.submit(service_, "r" + std::to_string(runs_++));
    std::vector<TextDelta> answers(1);
    for (auto& [index, delta] : generation->poll()) answers[0].append(std::move(delta));
    return json(job.format->whole(answers, generation->usage()));
  }
  Json respond(const std::string& body) { return run(responses_job(json(body), context())); }

  ScriptedService service_;
  ResponseStore store_{16, 1 << 20};
  int runs_ = 0;
};

TEST(Blocks, OpenFillAndCloseInTurn) {
  AnswerBlocks blocks;
  std::string row;
  for (const TextDelta& delta : rich_answer())
    for (const BlockStep& step : blocks.push(delta))
      row += (step.what == BlockStep::What::open    ? "<"
              : step.what == BlockStep::What::close ? ">"
                                                    : "") +
             std::to_string(step.index) + step.piece;
  EXPECT_EQ(row, "<00Let me 0think>0<11I will 1look.>1<22{\"x\"2:1}>2<33{}>3");
  ASSERT_EQ(blocks.blocks().size(), 4u);
  EXPECT_EQ(blocks.at(2).text, "{\"x\":1}");
  EXPECT_EQ(blocks.at(3).name, "see");
  EXPECT_TRUE(blocks.has_tool_calls());
}

TEST(Blocks, ScoresWaitForTheirText) {
  AnswerBlocks blocks;
  std::vector<TextDelta> deltas(3);
  deltas[0].reasoning = "hm";  // reasoning shows no scores
  deltas[0].scores.resize(1);
  deltas[1].text = "a";
  deltas[1].scores.resize(1);
  deltas[2].scores.resize(1);  // the first half of a character
  for (const TextDelta& delta : deltas) blocks.push(delta);
  EXPECT_EQ(blocks.at(1).scores.size(), 1u);
  TextDelta rest;
  rest.text = "\u00e9";
  rest.scores.resize(1);
  EXPECT_EQ(blocks.push(rest).at(0).scores.size(), 2u);
  EXPECT_EQ(blocks.at(1).scores.size(), 3u);
}

TEST_F(Dialects, MessagesRunAndCount) {
  const std::string body =
      R"({"max_tokens": 20, "messages": [{"role": "user", "content": "hello"}]})";
  const Json message = run(messages_job(json(body), context()));
  EXPECT_EQ(message["content"][0]["text"], "Paris");
  EXPECT_EQ(message["model"], "scripted");
  EXPECT_EQ(json(count_tokens_body(json(body), context()))["input_tokens"], 5);
}

TEST_F(Dialects, ErrorsOfTheChatNameTheFieldsOfTheDialect) {
  const auto field = [&](const std::string& body) {
    return refused_field([&] { responses_job(json(body), context()); });
  };
  EXPECT_EQ(field(R"({"input": "x", "max_output_tokens": 100000})"), "max_output_tokens");
  EXPECT_EQ(field(R"({"input": "x", "temperature": -1})"), "temperature");
  EXPECT_EQ(field(R"({"input": "x", "text": {"format": {"type": "rhyme"}}})"), "text.format.type");
  EXPECT_EQ(field(R"({"input": "x", "instructoins": "y"})"), "instructoins");
  EXPECT_EQ(field(R"({"input": "x", "temprature": 1})"), "temprature");
  EXPECT_EQ(field(R"({"input": "x", "store": false, "stop": "y"})"), "");
  EXPECT_EQ(refused_field([&] {
              messages_job(json(R"({"max_tokens": 5, "stop_sequences": 7,
                               "messages": [{"role": "user", "content": "x"}]})"),
                           context());
            }),
            "stop_sequences");
}

TEST(FieldOrigins, TheLongestNameCounts) {
  FieldOrigins origins;
  origins.add("messages[1]", "input[0]");
  origins.add("messages[1].content[0]", "input[0].output[2]");
  origins.add("stop", "stop_sequences");
  EXPECT_EQ(origins.renamed("messages[1].content[0].image_url: bad"),
            "input[0].output[2].image_url: bad");
  EXPECT_EQ(origins.renamed("messages[1].role"), "input[0].role");
  EXPECT_EQ(origins.renamed("messages[11].role"), "messages[11].role");
  EXPECT_EQ(origins.renamed("stop: x; stop_token_ids"), "stop_sequences: x; stop_token_ids");
}

TEST_F(Dialects, AResponseIsKeptAndCarriedOn) {
  const Json first =
      respond(R"({"input": "one", "instructions": "quiet", "metadata": {"k": "v"}})");
  EXPECT_EQ(first["object"], "response");
  EXPECT_EQ(first["status"], "completed");
  EXPECT_EQ(first["output"][0]["content"][0]["text"], "Paris");
  EXPECT_EQ(first["metadata"]["k"], "v");
  EXPECT_EQ(first["temperature"], 1.0);
  const std::string id = first["id"];
  EXPECT_EQ(id.size(), 5u + 32u);
  ASSERT_NE(store_.get(id, "me"), nullptr);
  EXPECT_EQ(json(store_.get(id, "me")->body), first);
  EXPECT_EQ(store_.get(id, "you"), nullptr);
  const Json second = respond(R"({"input": "two", "previous_response_id": ")" + id + "\"}");
  // Instructions belong to one request; the conversation goes on.
  EXPECT_EQ(service_.requests().at(1).prompt->ids.size(), std::string("oneParistwo").size());
  EXPECT_EQ(second["previous_response_id"], id);
  EXPECT_EQ(json(store_.get(second["id"], "me")->input).size(), 3u);
}

TEST_F(Dialects, WhatIsNotToBeStoredIsNot) {
  const Json response = respond(R"({"input": "one", "store": false})");
  EXPECT_EQ(store_.count(), 0u);
  EXPECT_EQ(refused_field([&] {
              respond(R"({"input": "x", "previous_response_id": ")" +
                      response["id"].get<std::string>() + "\"}");
            }),
            "previous_response_id");
}

TEST(ResponseStore, IsBoundedInCountAndBytes) {
  const auto of_size = [](size_t bytes) {
    return StoredResponse{
        .owner = "", .body = std::string(bytes, 'x'), .input = "", .conversation = ""};
  };
  ResponseStore few(2, 1 << 20);
  for (const char* id : {"a", "b"}) few.put(id, of_size(10));
  EXPECT_NE(few.get("a", ""), nullptr);  // now b is the least recently used
  few.put("c", of_size(10));
  EXPECT_NE(few.get("a", ""), nullptr);
  EXPECT_EQ(few.get("b", ""), nullptr);
  EXPECT_TRUE(few.erase("a", ""));
  EXPECT_FALSE(few.erase("a", ""));
  EXPECT_EQ(few.count(), 1u);

  ResponseStore small(100, 3000);
  for (int i = 0; i < 10; ++i) small.put(std::to_string(i), of_size(1000));
  EXPECT_LE(small.bytes(), 3000u);
  EXPECT_EQ(small.count(), 2u);
  small.put("huge", of_size(5000));
  EXPECT_EQ(small.get("huge", ""), nullptr);
  EXPECT_EQ(small.count(), 2u);
}

TEST_F(Dialects, RenderShowsTheExactPrompt) {
  const GenerationJob job =
      completion_job(json(R"({"prompt": ["ab", [99]], "max_tokens": 3})"), context());
  const Json body = json(rendered_body(job, context()));
  ASSERT_EQ(body["prompts"].size(), 2u);
  EXPECT_EQ(body["prompts"][0]["prompt"], "ab");
  EXPECT_EQ(body["prompts"][0]["token_ids"], json("[97, 98]"));
  EXPECT_EQ(body["prompts"][1]["prompt"], "c");
  EXPECT_EQ(body["prompts"][0]["sampling_params"]["max_tokens"], 3);
}

TEST_F(Dialects, BatchLines) {
  const BatchLine line = BatchLine::parse(
      R"({"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": {"input": "x"}})");
  EXPECT_EQ(run(std::get<GenerationJob>(batch_job(line, context())))["object"], "response");
  const Json answer = json(batch_answer("a", "r", R"({"k":[1]})"));
  EXPECT_EQ(answer["response"]["body"]["k"][0], 1);
  EXPECT_TRUE(answer["error"].is_null());
  EXPECT_EQ(batch_key(answer.dump()), "a");
  const Json failure = json(batch_failure("a", "r", make_api_error(400, "no")));
  EXPECT_EQ(failure["response"]["status_code"], 400);
  EXPECT_EQ(failure["error"]["message"], "no");
  EXPECT_EQ(batch_key(batch_bad_line("", 7, make_api_error(400, "no"))), bad_line_key(7));
  EXPECT_EQ(batch_key("{\"custom_id\": "), "");
  const auto field = [&](const std::string& text) {
    return refused_field([&] { batch_job(BatchLine::parse(text), context()); });
  };
  EXPECT_EQ(field(R"({"url": "/v1/responses", "body": {}})"), "custom_id");
  EXPECT_EQ(field(R"({"custom_id": "a", "url": "/v1/audio/speech", "body": {}})"), "url");
  EXPECT_EQ(field(R"({"custom_id": "a", "method": "GET", "url": "/v1/responses", "body": {}})"),
            "method");
  EXPECT_EQ(
      field(
          R"({"custom_id": "a", "url": "/v1/responses", "body": {"input": "x", "stream": true}})"),
      "stream");
}

}  // namespace
}  // namespace quern
