// SPDX-License-Identifier: Apache-2.0
// Requests for vectors, from the wire to the prompts and back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "api/api_error.h"
#include "api/pooling_request.h"
#include "api/pooling_run.h"
#include "api/scripted_service.h"

namespace quern {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// What a request is refused with: "param: message".
std::string refusal(const auto& body) {
  try {
    body();
  } catch (const RequestError& e) {
    return e.param() + "| " + e.what();
  }
  return "no error";
}

std::string embedding_refusal(const char* body) {
  return refusal([&] { EmbeddingRequest::parse(parse_json(body, "body")); });
}

TEST(PoolingRequest, ReadsWhatClientsSend) {
  std::vector<std::string> ignored;
  const auto request = EmbeddingRequest::parse(
      parse_json(R"({"model": "m", "input": ["a", "b"], "encoding_format": "base64",
                     "dimensions": 8, "normalize": false, "user": "u", "extension": 1,
                     "truncate_prompt_tokens": -1, "truncation_side": "left", "priority": 3})",
                 "body"),
      &ignored);
  EXPECT_EQ(request.inputs.texts.size(), 2u);
  EXPECT_TRUE(request.is_base64);
  EXPECT_EQ(request.dimensions, 8);
  EXPECT_EQ(request.common.is_activated, false);
  EXPECT_EQ(request.common.truncate_prompt_tokens, -1);
  EXPECT_TRUE(request.common.keeps_end);
  EXPECT_EQ(request.common.priority, 3);
  EXPECT_THAT(ignored, ElementsAre("extension"));
  const auto ids = EmbeddingRequest::parse(parse_json(R"({"input": [[1, 2], [3]]})", "body"));
  EXPECT_EQ(std::get<TokenIds>(ids.inputs.texts.at(0)), (TokenIds{1, 2}));
  const auto chat = EmbeddingRequest::parse(
      parse_json(R"({"messages": [{"role": "user", "content": "x"}]})", "body"));
  ASSERT_TRUE(chat.inputs.chat);
  EXPECT_FALSE(chat.inputs.chat->add_generation_prompt);
}

TEST(PoolingRequest, NamesWhatIsWrong) {
  EXPECT_THAT(embedding_refusal("{}"), HasSubstr("input| input: missing"));
  EXPECT_THAT(embedding_refusal(R"({"input": []})"), HasSubstr("input| input: expected a string"));
  EXPECT_THAT(embedding_refusal(R"({"input": [[]]})"), HasSubstr("empty list of token ids"));
  EXPECT_THAT(embedding_refusal(R"({"input": [{}]})"), HasSubstr("got an object"));
  EXPECT_THAT(embedding_refusal(R"({"input": "x", "messages": []})"),
              HasSubstr("either \"input\" or \"messages\""));
  EXPECT_THAT(embedding_refusal(R"({"input": "x", "encoding_format": "hex"})"),
              HasSubstr("encoding_format| encoding_format: expected \"float\" or \"base64\""));
  EXPECT_THAT(embedding_refusal(R"({"input": "x", "dimensions": 0})"), HasSubstr("dimensions|"));
  EXPECT_THAT(embedding_refusal(R"({"input": "x", "dimension": 3})"),
              HasSubstr("did you mean dimensions"));
  EXPECT_THAT(embedding_refusal(R"({"input": "x", "truncate_prompt_tokens": 0})"),
              HasSubstr("expected at least 1, or -1"));
  EXPECT_THAT(embedding_refusal(R"({"input": "x", "truncation_side": "middle"})"),
              HasSubstr("\"left\" or \"right\""));
  EXPECT_THAT(embedding_refusal(R"({"input": "x", "embed_dtype": "float16"})"),
              HasSubstr("embed_dtype|"));
  EXPECT_THAT(embedding_refusal(R"({"input": "x", "endianness": "big"})"),
              HasSubstr("endianness|"));
  EXPECT_THAT(embedding_refusal(R"({"input": "x", "normalize": true, "use_activation": false})"),
              HasSubstr("older name"));
  EXPECT_THAT(embedding_refusal(R"({"input": "x", "padding": "max_length"})"),
              HasSubstr("padding|"));
  Json many = {{"input", Json::array()}};
  for (int i = 0; i < 2049; ++i) many["input"].push_back("x");
  EXPECT_THAT(refusal([&] { EmbeddingRequest::parse(many); }),
              HasSubstr("2049 inputs, the limit is 2048"));
}

TEST(PoolingRequest, PairsAndDocuments) {
  const auto score = [](const char* body) { return ScoreRequest::parse(parse_json(body, "body")); };
  EXPECT_THAT(score(R"({"text_1": "a", "text_2": ["b", {"text": "c"}]})").second,
              ElementsAre("b", "c"));
  EXPECT_THAT(score(R"({"queries": ["a"], "documents": "b"})").first, ElementsAre("a"));
  EXPECT_THAT(score(R"({"queries": ["a"], "items": "b"})").second, ElementsAre("b"));
  EXPECT_THAT(score(R"({"data_1": "a", "data_2": "b"})").first, ElementsAre("a"));
  EXPECT_THAT(refusal([&] { score(R"({"text_1": ["a", "b"], "text_2": ["c", "d", "e"]})"); }),
              HasSubstr("text_1| 2 texts and 3"));
  EXPECT_THAT(refusal([&] { score(R"({"text_1": "a"})"); }), HasSubstr("text_2: missing"));
  EXPECT_THAT(refusal([&] { score(R"({"text_1": "a", "text_2": [1]})"); }),
              HasSubstr("text_2[0]: expected a string or an object"));
  EXPECT_THAT(refusal([&] { score(R"({"text_1": "a", "text_2": {"content": []}})"); }),
              HasSubstr("reads text only"));
  const auto rerank = [](const char* body) {
    return RerankRequest::parse(parse_json(body, "body"));
  };
  const auto request =
      rerank(R"({"query": "q", "documents": ["a"], "top_n": 3, "return_documents": false})");
  EXPECT_EQ(request.top_n, 3u);
  EXPECT_FALSE(request.return_documents);
  EXPECT_THAT(refusal([&] { rerank(R"({"query": ["a", "b"], "documents": ["c"]})"); }),
              HasSubstr("query: expected one text, got 2"));
  EXPECT_THAT(refusal([&] { rerank(R"({"query": "a", "documents": []})"); }),
              HasSubstr("documents: expected at least one"));
  EXPECT_THAT(refusal([&] { rerank(R"({"query": "a", "documents": ["b"], "top_n": -1})"); }),
              HasSubstr("top_n|"));
  EXPECT_THAT(
      refusal([&] { rerank(R"({"query": "a", "documents": ["b"], "max_tokens_per_doc": 9})"); }),
      HasSubstr("max_tokens_per_doc|"));
}

TEST(PoolingFormat, MakesVectorsOfRows) {
  EXPECT_THAT(embedding_of({3, 4, 12}, 0, false), ElementsAre(3, 4, 12));
  EXPECT_THAT(embedding_of({3, 4, 12}, 2, true), ElementsAre(0.6f, 0.8f));
  EXPECT_THAT(embedding_of({0, 0}, 0, true), ElementsAre(0, 0));
  EXPECT_THAT(classes_of({0, 0}, ScoreActivation::softmax), ElementsAre(0.5f, 0.5f));
  EXPECT_THAT(classes_of({1000, 0}, ScoreActivation::softmax), ElementsAre(1, 0));
  EXPECT_THAT(classes_of({0, -1000}, ScoreActivation::sigmoid), ElementsAre(0.5f, 0));
  EXPECT_THAT(classes_of({7}, ScoreActivation::none), ElementsAre(7));
  EXPECT_DOUBLE_EQ(cosine(Vector{3, 4}, Vector{3, 4}), 1);
  EXPECT_DOUBLE_EQ(cosine(Vector{1, 0}, Vector{0, 2}), 0);
  EXPECT_DOUBLE_EQ(cosine(Vector{1, 0}, Vector{-2, 0}), -1);
  EXPECT_DOUBLE_EQ(cosine(Vector{0, 0}, Vector{1, 0}), 0);
}

TEST(PoolingFormat, RanksBestFirst) {
  const double scores[] = {0.1, 0.9, 0.5, 0.9};
  const auto indices = [&](size_t top_n) {
    std::vector<size_t> out;
    for (const RankedDocument& each : ranked(scores, top_n)) out.push_back(each.index);
    return out;
  };
  EXPECT_THAT(indices(0), ElementsAre(1, 3, 2, 0));
  EXPECT_THAT(indices(2), ElementsAre(1, 3));
  EXPECT_THAT(indices(9), ElementsAre(1, 3, 2, 0));
}

TEST(PoolingFormat, WritesFloatsThatAreReadBackExactly) {
  const auto bytes = [](std::string_view text) { return std::as_bytes(std::span(text)); };
  EXPECT_EQ(base64_of(bytes("")), "");
  EXPECT_EQ(base64_of(bytes("f")), "Zg==");
  EXPECT_EQ(base64_of(bytes("fo")), "Zm8=");
  EXPECT_EQ(base64_of(bytes("foobar")), "Zm9vYmFy");
  const std::vector<Vector> vectors = {{1.0f / 3, -1e-20f, 1, 3e38f}};
  const Usage usage{.prompt_tokens = 5, .completion_tokens = 0, .cached_tokens = 2};
  const Json body =
      parse_json(embeddings_body({"id", 7, "a\"b"}, vectors, false, usage), "embeddings");
  EXPECT_EQ(body["model"], "a\"b");
  EXPECT_EQ(body["usage"]["total_tokens"], 5);
  for (size_t i = 0; i < 4; ++i)
    EXPECT_EQ(static_cast<float>(body["data"][0]["embedding"][i].get<double>()), vectors[0][i]);
  const std::vector<Vector> one = {{1.0f}};
  const Json packed = parse_json(embeddings_body({"id", 7, "m"}, one, true, usage), "b");
  EXPECT_EQ(packed["data"][0]["embedding"], "AACAPw==");
}

class PoolingJobs : public testing::Test {
 protected:
  PoolingJobs() {
    pooling_.size = 3;
    service_.set_script(pooled_reply([](const std::vector<int32_t>& ids) {
      return Vector{static_cast<float>(ids.size()), static_cast<float>(ids.back()), 0};
    }));
  }
  using Maker = PoolingJob (*)(const Json&, const JobContext&);
  // The answer, by way of the service.
  Json answer(Maker make, const std::string& body) {
    service_.set_pooling(pooling_);
    const PoolingJob job = make(parse_json(body, "body"), context());
    PoolingRun run(service_, "id", job);
    run.poll();
    EXPECT_TRUE(run.is_finished());
    return parse_json(job.body(run.take(), run.usage()), "answer");
  }
  std::string refused(Maker make, const std::string& body) {
    service_.set_pooling(pooling_);
    return refusal([&] { make(parse_json(body, "body"), context()); });
  }
  JobContext context() const { return {.service = service_, .id = "r"}; }
  std::vector<TokenIds> prompts() const {
    std::vector<TokenIds> out;
    for (const Request& request : service_.requests()) out.push_back(request.prompt->ids);
    return out;
  }

  Pooling pooling_;
  ScriptedService service_;
};

TEST_F(PoolingJobs, Embeds) {
  const Json body = answer(embedding_job, R"({"input": ["abc", [97]]})");
  EXPECT_EQ(body["id"], "embd-r");
  EXPECT_EQ(body["object"], "list");
  EXPECT_EQ(body["data"][1]["index"], 1);
  EXPECT_NEAR(body["data"][0]["embedding"][0].get<double>(), 3 / std::hypot(3, 99), 1e-6);
  EXPECT_EQ(body["usage"]["prompt_tokens"], 4);
  EXPECT_EQ(body["usage"]["completion_tokens"], 0);
  EXPECT_EQ(service_.requests().at(0).params.max_tokens, 0);
  const Json raw = answer(embedding_job, R"({"input": "abc", "normalize": false})");
  EXPECT_EQ(raw["data"][0]["embedding"], Json::array({3, 99, 0}));
}

TEST_F(PoolingJobs, CutsPrompts) {
  answer(embedding_job, R"({"input": "abc", "truncate_prompt_tokens": 2})");
  answer(embedding_job,
         R"({"input": "abc", "truncate_prompt_tokens": 2, "truncation_side": "left"})");
  const std::string longer(600, 'x');
  answer(embedding_job, R"({"truncate_prompt_tokens": -1, "input": ")" + longer + "\"}");
  EXPECT_THAT(prompts().at(0), ElementsAre('a', 'b'));
  EXPECT_THAT(prompts().at(1), ElementsAre('b', 'c'));
  EXPECT_EQ(prompts().at(2).size(), 512u);
  EXPECT_THAT(refused(embedding_job, R"({"input": ")" + longer + "\"}"),
              HasSubstr("input| input: 600 tokens; this server's context is 512"));
  EXPECT_THAT(refused(embedding_job, R"({"input": "x", "truncate_prompt_tokens": 513})"),
              HasSubstr("at most the context of 512"));
  EXPECT_THAT(refused(embedding_job, R"({"input": ""})"), HasSubstr("it has no tokens"));
}

TEST_F(PoolingJobs, CutsVectorsThatMayBe) {
  EXPECT_THAT(refused(embedding_job, R"({"input": "x", "dimensions": 2})"),
              HasSubstr("was not trained to have them cut"));
  EXPECT_EQ(
      answer(embedding_job, R"({"input": "x", "dimensions": 3})")["data"][0]["embedding"].size(),
      3u);
  pooling_.is_matryoshka = true;
  const Json cut = answer(embedding_job, R"({"input": "x", "dimensions": 1})");
  EXPECT_EQ(cut["data"][0]["embedding"], Json::array({1}));
  EXPECT_THAT(refused(embedding_job, R"({"input": "x", "dimensions": 4})"),
              HasSubstr("expected 1 to 3, got 4"));
  pooling_.cuts = {2};
  EXPECT_THAT(refused(embedding_job, R"({"input": "x", "dimensions": 1})"),
              HasSubstr("expected 3 or one of 2, got 1"));
}

TEST_F(PoolingJobs, ScoresAndRanksByTheAngle) {
  service_.set_script(pooled_reply([](const std::vector<int32_t>& ids) {
    return ids.back() == 'a'   ? Vector{1, 0, 0}
           : ids.back() == 'b' ? Vector{1, 1, 0}
                               : Vector{0, 2, 0};
  }));
  const Json score = answer(score_job, R"({"text_1": "a", "text_2": ["a", "b", "c"]})");
  EXPECT_EQ(service_.requests().size(), 4u);  // the one text once
  EXPECT_DOUBLE_EQ(score["data"][0]["score"].get<double>(), 1);
  EXPECT_NEAR(score["data"][1]["score"].get<double>(), std::sqrt(0.5), 1e-7);
  EXPECT_DOUBLE_EQ(score["data"][2]["score"].get<double>(), 0);
  EXPECT_EQ(score["data"][2]["object"], "score");
  const Json pairs = answer(score_job, R"({"text_1": ["a", "c"], "text_2": ["a", "c"]})");
  EXPECT_DOUBLE_EQ(pairs["data"][1]["score"].get<double>(), 1);
  const Json ranking =
      answer(rerank_job, R"({"query": "a", "documents": ["c", "b", {"text": "a"}], "top_n": 2})");
  EXPECT_EQ(ranking["results"].size(), 2u);
  EXPECT_EQ(ranking["results"][0]["index"], 2);
  EXPECT_EQ(ranking["results"][0]["document"]["text"], "a");
  EXPECT_EQ(ranking["results"][1]["index"], 1);
  EXPECT_FALSE(
      answer(rerank_job,
             R"({"query": "a", "documents": ["c"], "return_documents": false})")["results"][0]
          .contains("document"));
}

TEST_F(PoolingJobs, Classifies) {
  pooling_.output = Output::scores;
  pooling_.activation = ScoreActivation::softmax;
  pooling_.labels = {"no", "yes", "maybe"};
  const Json body = answer(classify_job, R"({"input": "abc"})");
  EXPECT_EQ(body["data"][0]["label"], "yes");
  EXPECT_EQ(body["data"][0]["num_classes"], 3);
  EXPECT_NEAR(body["data"][0]["probs"][1].get<double>(), 1, 1e-6);
  EXPECT_EQ(
      answer(classify_job, R"({"input": "abc", "use_activation": false})")["data"][0]["probs"][1],
      99);
  EXPECT_THAT(refused(score_job, R"({"text_1": "a", "text_2": "b"})"),
              HasSubstr("this model has 3 classes"));
  EXPECT_THAT(refused(embedding_job, R"({"input": "a"})"), HasSubstr("--convert embed"));
}

TEST_F(PoolingJobs, ScoresPairsTogetherWithOneClass) {
  pooling_.output = Output::scores;
  pooling_.activation = ScoreActivation::sigmoid;
  pooling_.labels = {"LABEL_0"};
  service_.set_script(pooled_reply(
      [](const std::vector<int32_t>& ids) { return Vector{ids.size() == 2 ? 0.0f : 50.0f}; }));
  const Json score = answer(score_job, R"({"text_1": "q", "text_2": ["a", "bc"]})");
  EXPECT_THAT(prompts().at(1), ElementsAre('q', 'b', 'c'));
  EXPECT_DOUBLE_EQ(score["data"][0]["score"].get<double>(), 0.5);
  EXPECT_DOUBLE_EQ(score["data"][1]["score"].get<double>(), 1);
}

TEST_F(PoolingJobs, AreRefusedByModelsOfAnotherKind) {
  for (const Maker make : {embedding_job, classify_job})
    EXPECT_THAT(refusal([&] { make(parse_json(R"({"input": "x"})", "body"), context()); }),
                HasSubstr("--runner pooling"));
  EXPECT_THAT(refused(classify_job, R"({"input": "x"})"), HasSubstr("has no classes"));
  EXPECT_THAT(refused(embedding_job, R"({"input": "x", "model": "other"})"),
              HasSubstr("does not exist"));
  EXPECT_THAT(refusal([&] { check_generates(service_.info()); }), HasSubstr("--runner generate"));
}

TEST_F(PoolingJobs, KeepSomeHundredsUnderWay) {
  std::vector<std::shared_ptr<EventStream>> streams;
  service_.set_script([&](const Request&, const std::shared_ptr<EventStream>& stream) {
    streams.push_back(stream);
  });
  service_.set_pooling(pooling_);
  Json body = {{"input", Json::array()}};
  for (int i = 0; i < 700; ++i) body["input"].push_back("x");
  const PoolingJob job = embedding_job(body, context());
  PoolingRun run(service_, "id", job);
  size_t answered = 0;
  while (!run.is_finished()) {
    run.poll();
    ASSERT_LE(streams.size() - answered, PoolingRun::kMostUnderWay);
    ASSERT_LT(answered, streams.size() + 1);
    for (; answered < streams.size(); ++answered) {
      TokenEvent event;
      event.pooled = {static_cast<float>(answered)};
      event.finish = FinishReason::stop;
      streams[answered]->push(std::move(event));
      streams[answered]->close();
    }
  }
  const std::vector<Vector> vectors = run.take();
  for (size_t i = 0; i < vectors.size(); ++i)
    EXPECT_THAT(vectors[i], ElementsAre(static_cast<float>(i)));
  EXPECT_EQ(run.usage().prompt_tokens, 700);
}

TEST_F(PoolingJobs, WaitForRoomInTheQueueAndCancelWhatIsLeft) {
  size_t room = 3;
  std::vector<std::shared_ptr<EventStream>> streams;
  service_.set_script([&](const Request&, const std::shared_ptr<EventStream>& stream) {
    if (streams.size() == room) fail(ErrorCode::exhausted, "the queue is full");
    streams.push_back(stream);
  });
  service_.set_pooling(pooling_);
  const PoolingJob job =
      embedding_job(parse_json(R"({"input": ["a", "b", "c", "d"]})", "body"), context());
  {
    PoolingRun run(service_, "id", job);
    run.poll();
    EXPECT_EQ(streams.size(), 3u);
    TokenEvent event;
    event.finish = FinishReason::error;
    event.error = "step: broken";
    event.error_reason = "numeric_error";
    streams[1]->push(std::move(event));
    streams[1]->close();
    EXPECT_THAT(refusal([&] { run.poll(); }), HasSubstr("step: broken"));
  }
  EXPECT_EQ(service_.cancelled(), 3u);
  room = streams.size();
  PoolingRun full(service_, "full", job);
  EXPECT_THROW(full.poll(), Error);
}

}  // namespace
}  // namespace quern
