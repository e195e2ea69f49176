// SPDX-License-Identifier: Apache-2.0
// From a request to its answer: jobs, generations, whole and streamed formats, errors.
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "api/answer_stream.h"
#include "api/generation_job.h"
#include "api/responses.h"
#include "api/scripted_service.h"

namespace quern {
namespace {

class Answer : public testing::Test {
 protected:
  JobContext context() const {
    return {.service = service_, .id = "r1", .created = 1234, .seed = 5};
  }
  GenerationJob chat(const std::string& fields) const {
    return chat_job(
        parse_json(
            R"({"model": "alias", "messages": [{"role": "user", "content": "hi"}])" + fields + "}",
            "body"),
        context());
  }
  GenerationJob completion(const std::string& fields) const {
    return completion_job(parse_json("{" + fields + "}", "body"), context());
  }

  // Runs a job to its end and returns the body of its answer.
  Json whole(const GenerationJob& job) {
    const auto generation = job.submit(service_, "r1");
    std::vector<TextDelta> answers(static_cast<size_t>(job.choice_count()));
    for (auto& [index, delta] : generation->poll())
      answers[static_cast<size_t>(index)].append(std::move(delta));
    EXPECT_TRUE(generation->is_finished());
    return parse_json(job.format->whole(answers, generation->usage()), "answer");
  }

  std::vector<Json> streamed(const GenerationJob& job) {
    const auto generation = job.submit(service_, "r1");
    AnswerStream stream(*job.format, job.stream_options, *generation, job.shows_tokens);
    ServerEvents events = stream.events(generation->poll());
    if (!stream.has_failed())
      for (ServerEvent& event : stream.closing()) events.push_back(std::move(event));
    EXPECT_EQ(events.back().data, "[DONE]");
    events.pop_back();
    std::vector<Json> out;
    for (const ServerEvent& event : events) {
      EXPECT_EQ(event.name, "");
      out.push_back(parse_json(event.data, "chunk"));
    }
    return out;
  }

  ScriptedService service_;
};

TEST_F(Answer, ChatHasTheShapeThatClientsRead) {
  const Json body = whole(chat(""));
  EXPECT_EQ(body["id"], "chatcmpl-r1");
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["created"], 1234);
  EXPECT_EQ(body["model"], "scripted");
  const Json& choice = body["choices"].at(0);
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_EQ(choice["message"]["content"], "Paris");
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_TRUE(choice["stop_reason"].is_null());
  EXPECT_TRUE(choice["logprobs"].is_null());
  EXPECT_EQ(body["usage"]["prompt_tokens"], 2);
  EXPECT_EQ(body["usage"]["completion_tokens"], 6);
  EXPECT_EQ(body["usage"]["total_tokens"], 8);
}

TEST_F(Answer, CompletionCountsAllChoicesAndEchoes) {
  const Json body =
      whole(completion(R"("prompt": ["a", "bc"], "n": 2, "echo": true, "max_tokens": 3)"));
  ASSERT_EQ(body["choices"].size(), 4u);
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_EQ(body["choices"][1]["text"], "aPar");
  EXPECT_EQ(body["choices"][2]["text"], "bcPar");
  EXPECT_EQ(body["choices"][3]["index"], 3);
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(body["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(body["usage"]["completion_tokens"], 12);
}

TEST_F(Answer, EchoOfIdsIsTheirText) {
  EXPECT_EQ(whole(completion(R"("prompt": [104, 105], "echo": true)"))["choices"][0]["text"],
            "hiParis");
}

TEST_F(Answer, PromptLogprobsHaveVllmsShape) {
  const Json expected = parse_json(R"([null,
      {"105": {"logprob": -1.5, "rank": 2, "decoded_token": "i"},
       "106": {"logprob": -0.5, "rank": 1, "decoded_token": "j"}}])",
                                   "expected");
  EXPECT_EQ(whole(chat(R"(, "prompt_logprobs": 2)"))["prompt_logprobs"], expected);
  const Json body = whole(completion(R"("prompt": ["hi", "x"], "n": 2, "prompt_logprobs": 2)"));
  for (const int choice : {0, 1}) EXPECT_EQ(body["choices"][choice]["prompt_logprobs"], expected);
  EXPECT_EQ(body["choices"][2]["prompt_logprobs"], Json::array({nullptr}));
  const Json least = whole(completion(R"("prompt": "hi", "prompt_logprobs": 0)"));
  EXPECT_EQ(least["choices"][0]["prompt_logprobs"][1].size(), 1u);
  EXPECT_FALSE(whole(chat("")).contains("prompt_logprobs"));
}

// What lm-eval's loglikelihood reads.
TEST_F(Answer, EchoWithLogprobsScoresThePrompt) {
  const Json body = whole(completion(
      R"("prompt": [104, 105, 33], "echo": true, "logprobs": 1, "max_tokens": 1, "temperature": 0)"));
  const Json& choice = body["choices"][0];
  EXPECT_EQ(choice["text"], "hi!P");
  const Json& logprobs = choice["logprobs"];
  EXPECT_EQ(logprobs["tokens"], Json::array({"h", "i", "!", "P"}));
  EXPECT_EQ(logprobs["token_logprobs"], Json::array({nullptr, -1.5, -1.5, -0.5}));
  EXPECT_EQ(logprobs["text_offset"], Json::array({0, 1, 2, 3}));
  ASSERT_EQ(logprobs["top_logprobs"].size(), 4u);
  EXPECT_TRUE(logprobs["top_logprobs"][0].is_null());
  EXPECT_EQ(logprobs["top_logprobs"][1], (Json{{"i", -1.5}, {"j", -0.5}}));
  EXPECT_FALSE(choice.contains("prompt_logprobs"));
  EXPECT_EQ(service_.requests().back().params.prompt_logprobs, 1);
}

TEST_F(Answer, AnEchoNeedsNoAnswer) {
  const Json body =
      whole(completion(R"("prompt": "hi", "echo": true, "logprobs": 0, "max_tokens": 0, "n": 2)"));
  for (const Json& choice : body["choices"]) {
    EXPECT_EQ(choice["text"], "hi");
    EXPECT_EQ(choice["finish_reason"], "length");
    EXPECT_EQ(choice["logprobs"]["token_logprobs"], Json::array({nullptr, -1.5}));
  }
  EXPECT_EQ(body["usage"]["completion_tokens"], 0);
  EXPECT_EQ(
      whole(completion(R"("prompt": "hi", "echo": true, "max_tokens": 0)"))["choices"][0]["text"],
      "hi");
  const std::string full(512, 'x');  // all the context holds
  EXPECT_EQ(whole(completion(R"("prompt": ")" + full +
                             R"(", "echo": true, "max_tokens": 0)"))["choices"][0]["text"],
            full);
}

TEST_F(Answer, AStreamWithScoredEchoEqualsTheWhole) {
  const std::string fields = R"("prompt": "hi", "echo": true, "logprobs": 2, "n": 2)";
  const Json expected = whole(completion(fields))["choices"];
  std::map<int, Json> joined;
  for (const Json& chunk : streamed(completion(fields + R"(, "stream": true)"))) {
    const Json& choice = chunk["choices"].at(0);
    Json& to = joined.try_emplace(choice["index"].get<int>(), Json{{"text", ""}, {"logprobs", {}}})
                   .first->second;
    to["text"] = to["text"].get<std::string>() + choice["text"].get<std::string>();
    if (choice["logprobs"].is_null()) continue;
    for (const auto& [key, list] : choice["logprobs"].items())
      for (const Json& item : list) to["logprobs"][key].push_back(item);
  }
  ASSERT_EQ(joined.size(), 2u);
  for (const auto& [index, choice] : joined) {
    EXPECT_EQ(choice["text"], expected[static_cast<size_t>(index)]["text"]);
    EXPECT_EQ(choice["logprobs"], expected[static_cast<size_t>(index)]["logprobs"]);
  }
}

TEST_F(Answer, PromptsAreCutFromTheFront) {
  const auto sent = [&](const std::string& fields) {
    whole(completion(fields));
    return service_.requests().back().prompt->ids;
  };
  EXPECT_EQ(sent(R"("prompt": "abcde", "truncate_prompt_tokens": 2)"), (TokenIds{'d', 'e'}));
  EXPECT_EQ(sent(R"("prompt": "abcde", "truncate_prompt_tokens": 9)").size(), 5u);
  const std::string longer =
      R"("prompt": ")" + std::string(600, 'x') + R"(", "truncate_prompt_tokens": -1)";
  EXPECT_EQ(sent(longer).size(), 511u);
  EXPECT_EQ(sent(longer + R"(, "max_tokens": 12)").size(), 500u);
  whole(chat(R"(, "truncate_prompt_tokens": 1)"));
  EXPECT_EQ(service_.requests().back().prompt->ids, (TokenIds{'i'}));
  EXPECT_EQ(
      whole(completion(
          R"("prompt": "abcde", "truncate_prompt_tokens": 2, "echo": true)"))["choices"][0]["text"],
      "deParis");
  try {
    completion(R"("prompt": "x", "truncate_prompt_tokens": 513)");
    FAIL();
  } catch (const RequestError& e) {
    EXPECT_EQ(e.param(), "truncate_prompt_tokens");
  }
}

TEST_F(Answer, LogprobsOfBothDialects) {
  const Json in_chat = whole(
      chat(R"(, "logprobs": true, "top_logprobs": 2, "max_tokens": 1)"))["choices"][0]["logprobs"]
                                                                        ["content"];
  ASSERT_EQ(in_chat.size(), 1u);
  EXPECT_EQ(in_chat[0]["token"], "P");
  EXPECT_EQ(in_chat[0]["bytes"], Json::array({80}));
  EXPECT_EQ(in_chat[0]["top_logprobs"].size(), 2u);
  const Json in_completion = whole(
      completion(R"("prompt": "x", "logprobs": 2, "max_tokens": 2)"))["choices"][0]["logprobs"];
  EXPECT_EQ(in_completion["tokens"], Json::array({"P", "a"}));
  EXPECT_EQ(in_completion["text_offset"], Json::array({0, 1}));
  EXPECT_EQ(in_completion["token_logprobs"][0], -0.5);
  EXPECT_TRUE(in_completion["top_logprobs"][0].contains("P"));
  const Json as_ids = whole(completion(
      R"("prompt": "x", "logprobs": 0, "max_tokens": 1, "return_tokens_as_token_ids": true)"));
  EXPECT_EQ(as_ids["choices"][0]["logprobs"]["tokens"][0], "token_id:80");
}

TEST_F(Answer, TokenIdsWhereAskedFor) {
  const Json body = whole(chat(R"(, "return_token_ids": true)"));
  EXPECT_EQ(body["prompt_token_ids"], Json::array({104, 105}));
  EXPECT_EQ(body["choices"][0]["token_ids"], Json::array({80, 97, 114, 105, 115, 256}));
}

TEST_F(Answer, StopStringEndsTheAnswerAndTheEngineRequest) {
  service_.set_script([](const Request& request, const std::shared_ptr<EventStream>& stream) {
    push_reply(request, *stream, "one two three");
  });
  const Json body = whole(chat(R"(, "stop": "tw")"));
  EXPECT_EQ(body["choices"][0]["message"]["content"], "one ");
  EXPECT_EQ(body["choices"][0]["stop_reason"], "tw");
  EXPECT_EQ(service_.cancelled(), 1u);
}

// Joined deltas equal the whole answer, whatever was asked for.
TEST_F(Answer, StreamEqualsWhole) {
  for (const std::string fields : {"",
                                   R"(, "n": 3)",
                                   R"(, "stop": "ri")",
                                   R"(, "logprobs": true, "top_logprobs": 1)",
                                   R"(, "max_tokens": 2)"}) {
    service_.set_script(reply("Par\xC3\xAEs \xF0\x9F\x98\x80 rive"));
    const Json expected = whole(chat(fields));
    std::map<int, std::string> text, finish, roles;
    std::map<int, size_t> scores;
    for (const Json& chunk : streamed(chat(fields + R"(, "stream": true)")))
      for (const Json& choice : chunk["choices"]) {
        const int index = choice["index"];
        EXPECT_EQ(chunk["object"], "chat.completion.chunk");
        if (choice["delta"].contains("role")) roles[index] += choice["delta"]["role"];
        if (choice["delta"].contains("content")) text[index] += choice["delta"]["content"];
        if (!choice["logprobs"].is_null()) scores[index] += choice["logprobs"]["content"].size();
        if (!choice["finish_reason"].is_null()) finish[index] += choice["finish_reason"];
      }
    for (const Json& choice : expected["choices"]) {
      const int index = choice["index"];
      EXPECT_EQ(roles[index], "assistant") << fields;  // once
      EXPECT_EQ(text[index], choice["message"]["content"]) << fields;
      EXPECT_EQ(finish[index], choice["finish_reason"]) << fields;
      if (!choice["logprobs"].is_null()) {
        EXPECT_EQ(scores[index], choice["logprobs"]["content"].size());
      }
    }
  }
}

TEST_F(Answer, UsageInStreamsIsCumulative) {
  const auto chunks = streamed(chat(
      R"(, "stream": true, "stream_options": {"include_usage": true, "continuous_usage_stats": true})"));
  ASSERT_GT(chunks.size(), 3u);
  EXPECT_TRUE(chunks.back()["choices"].empty());
  EXPECT_EQ(chunks.back()["usage"]["completion_tokens"], 6);
  for (const Json& chunk : chunks) EXPECT_EQ(chunk["usage"]["prompt_tokens"], 2);
  const auto plain = streamed(chat(R"(, "stream": true)"));
  for (const Json& chunk : plain) EXPECT_FALSE(chunk.contains("usage"));
  EXPECT_FALSE(plain.back()["choices"].empty());
}

TEST_F(Answer, CompletionStreamBeginsWithItsEcho) {
  const auto chunks = streamed(completion(R"("prompt": "Hey ", "echo": true, "stream": true)"));
  EXPECT_EQ(chunks.at(0)["choices"][0]["text"], "Hey ");
  std::string text;
  for (const Json& chunk : chunks) text += chunk["choices"][0]["text"];
  EXPECT_EQ(text, "Hey Paris");
}

TEST_F(Answer, FailureInMidStreamIsTheLastChunk) {
  service_.set_script([](const Request&, const std::shared_ptr<EventStream>& stream) {
    TokenEvent event;
    event.token = 'x';
    stream->push(event);
    TokenEvent failed;
    failed.finish = FinishReason::error;
    failed.error = "logits hold NaN";
    stream->push(failed);
    stream->close();
  });
  const auto chunks = streamed(chat(R"(, "stream": true)"));
  EXPECT_EQ(chunks.back()["error"]["message"], "logits hold NaN");
  EXPECT_EQ(chunks.back()["error"]["type"], "server_error");
}

TEST_F(Answer, JobsCarryParametersToTheEngine) {
  whole(chat(
      R"(, "n": 2, "priority": -1, "cache_salt": "tenant 7", "temperature": 0, "max_completion_tokens": 4)"));
  const Request request = service_.requests().at(0);
  EXPECT_EQ(request.n, 2);
  EXPECT_EQ(request.priority, -1);
  EXPECT_EQ(request.cache_salt, "tenant 7");
  EXPECT_EQ(request.params.temperature, 0);
  EXPECT_EQ(request.params.max_tokens, 4);
  EXPECT_EQ(request.params.seed, 5u);
  whole(completion(R"("prompt": "x")"));
  EXPECT_EQ(service_.requests().at(1).params.max_tokens, 16);
}

TEST_F(Answer, UnknownModelsAreNotFound) {
  try {
    completion(R"("prompt": "x", "model": "gpt-9")");
    FAIL();
  } catch (const RequestError& e) {
    const ApiError error = api_error_of(e);
    EXPECT_EQ(error.status, 404);
    EXPECT_EQ(error.code, "model_not_found");
    EXPECT_NE(error.message.find("gpt-9"), std::string::npos);
  }
  EXPECT_THROW(completion(R"("prompt": "")"), RequestError);
}

TEST_F(Answer, AGenerationThatIsDroppedIsCancelled) {
  service_.set_script([](const Request&, const std::shared_ptr<EventStream>&) {});
  chat("").submit(service_, "r1").reset();
  EXPECT_EQ(service_.cancelled(), 1u);
}

TEST_F(Answer, AStreamThatJustEndsIsAFailure) {
  service_.set_script(
      [](const Request&, const std::shared_ptr<EventStream>& stream) { stream->close(); });
  const auto chunks = streamed(chat(R"(, "n": 2, "stream": true)"));
  EXPECT_EQ(chunks.at(0)["error"]["code"], "unavailable");
}

TEST_F(Answer, AFullQueueLeavesNothingBehind) {
  service_.set_script(
      [n = std::make_shared<int>(0)](const Request&, const std::shared_ptr<EventStream>&) {
        if ((*n)++ == 1) fail(ErrorCode::exhausted, "the queue is full");
      });
  const GenerationJob job = completion(R"("prompt": ["a", "b", "c"])");
  EXPECT_THROW(job.submit(service_, "r1"), Error);
  EXPECT_EQ(service_.cancelled(), 1u);
}

TEST(ApiError, HasOpenAisShape) {
  const RequestError wrong(
      ErrorCode::invalid_argument, "top_p", "top_p: too \xff big", "some_code");
  const Json body = parse_json(to_json(api_error_of(wrong)), "error")["error"];
  EXPECT_EQ(body["param"], "top_p");
  EXPECT_EQ(body["code"], "some_code");
  EXPECT_EQ(body["type"], "invalid_request_error");
  EXPECT_EQ(api_error_of(Error(ErrorCode::exhausted, "x")).status, 429);
  EXPECT_EQ(api_error_of(Error(ErrorCode::unavailable, "x")).status, 503);
  EXPECT_EQ(api_error_of(std::bad_alloc()).status, 503);
  const ApiError foreign = api_error_of(std::runtime_error("/secret/path"));
  EXPECT_EQ(foreign.status, 500);
  EXPECT_EQ(foreign.message.find("secret"), std::string::npos);
}

TEST(Responses, ListTheServedNames) {
  ScriptedService service;
  const Json list = parse_json(models_response(service), "models");
  EXPECT_EQ(list["object"], "list");
  ASSERT_EQ(list["data"].size(), 2u);
  EXPECT_EQ(list["data"][1]["id"], "alias");
  EXPECT_EQ(list["data"][0]["max_model_len"], 512);
  EXPECT_EQ(list["data"][0]["input_modalities"], Json::array({"text"}));
  EXPECT_EQ(list["data"][0]["tasks"], Json::array({"generate"}));
  EXPECT_EQ(parse_json(tokenize_response({104, 105}, 512, &service.tokenizer()), "t")["token_strs"],
            Json::array({"h", "i"}));
  service.set_pooling({});
  EXPECT_EQ(parse_json(model_response(service, "alias"), "model")["tasks"], Json::array({"embed"}));
}

}  // namespace
}  // namespace quern
