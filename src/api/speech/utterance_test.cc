// SPDX-License-Identifier: Apache-2.0
#include "api/speech/utterance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/speech/scripted_speaker.h"

namespace quern {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

SpeechRequest request_of(const char* body) {
  return SpeechRequest::parse(parse_json(body, "test"));
}

std::string error_of(const char* body) {
  try {
    request_of(body);
  } catch (const RequestError& e) {
    return e.param() + ": " + e.what();
  }
  return "no error";
}

class Utterances : public testing::Test {
 protected:
  Utterances() { service_.set_speaker(std::make_unique<ScriptedSpeaker>()); }
  std::unique_ptr<Utterance> say(const char* body) {
    return std::make_unique<Utterance>(service_, "test", request_of(body), 7, [] {});
  }
  // All that it makes, as the bytes that stand behind the samples.
  static std::string whole(Utterance& utterance) {
    std::string out;
    while (!utterance.is_finished()) {
      utterance.poll();
      while (utterance.has_work()) {
        const std::vector<float> samples = utterance.work();
        for (size_t i = 0; i < samples.size(); i += 100)
          out += static_cast<char>(samples[i] * 256);
      }
    }
    return out;
  }

  ScriptedService service_;
};

TEST_F(Utterances, PiecesAreSaidInOrderEachBehindThoseBefore) {
  service_.set_script([](const Request& r, const std::shared_ptr<EventStream>& stream) {
    push_reply(r, *stream, r.prompt->ids[2] == 'a' && r.prompt->ids.size() < 12 ? "first" : "next");
  });
  auto utterance = say(R"({"input": "abc|de", "voice": "anna"})");
  EXPECT_EQ(whole(*utterance), "firstnext");
  const auto asked = service_.requests();
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_THAT(asked[0].prompt->ids, ElementsAre('h', 'i', 'a', 'b', 'c', 255, 1, 2));
  EXPECT_THAT(
      asked[1].prompt->ids,
      ElementsAre('h', 'i', 'a', 'b', 'c', 'd', 'e', 255, 1, 2, 'f', 'i', 'r', 's', 't'));
  EXPECT_EQ(asked[0].params.min_tokens, 6);
  EXPECT_EQ(asked[0].params.max_tokens, 60);
  EXPECT_THAT(asked[0].params.stop_token_ids, ElementsAre(kScriptedEos));
  EXPECT_EQ(asked[0].params.seed, 7u);
  EXPECT_EQ(asked[1].params.seed, 7u);
  EXPECT_TRUE(asked[1].params.repetition_aware.has_value());
  EXPECT_EQ(utterance->usage().input_tokens, 5);
  EXPECT_EQ(utterance->usage().output_tokens, 9);
  EXPECT_EQ(utterance->usage().cut_pieces, 0);
}

TEST_F(Utterances, SoundComesBeforeThePieceIsWholeOnlyInBlocks) {
  std::shared_ptr<EventStream> stream;
  service_.set_script([&](const Request&, const std::shared_ptr<EventStream>& s) { stream = s; });
  const auto push = [&](int32_t token, FinishReason finish = FinishReason::none) {
    TokenEvent event;
    event.token = token;
    event.finish = finish;
    stream->push(std::move(event));
  };
  for (const bool in_blocks : {false, true}) {
    auto utterance = say(in_blocks ? R"({"input": "a", "stream": true})" : R"({"input": "a"})");
    utterance->poll();
    push('x');
    utterance->poll();
    EXPECT_FALSE(utterance->has_work());
    push('y');
    utterance->poll();
    EXPECT_EQ(utterance->has_work(), in_blocks);
    if (in_blocks) {
      EXPECT_EQ(utterance->work().size(), 200u);
    }
    EXPECT_FALSE(utterance->has_work());
    push('z');
    push(kScriptedEos, FinishReason::stop);
    stream->close();
    utterance->poll();
    ASSERT_TRUE(utterance->has_work());
    EXPECT_EQ(utterance->work().size(), in_blocks ? 100u : 300u);
    EXPECT_TRUE(utterance->is_finished());
  }
}

TEST_F(Utterances, AVoiceMayComeWithTheRequest) {
  auto utterance = say(R"({"input": "a", "ref_audio": "BQY=", "ref_text": "ho", "seed": 3,
                           "temperature": 0})");
  EXPECT_EQ(whole(*utterance), "Paris");
  const Request asked = service_.requests().front();
  EXPECT_THAT(asked.prompt->ids, ElementsAre('h', 'o', 'a', 255, 5, 6));
  EXPECT_EQ(asked.params.seed, 3u);
  EXPECT_EQ(asked.params.temperature, 0);
}

TEST_F(Utterances, APieceThatDoesNotEndIsCounted) {
  service_.set_script(reply(std::string(100, 'x')));
  auto utterance = say(R"({"input": "ab"})");
  EXPECT_EQ(whole(*utterance), std::string(40, 'x'));
  EXPECT_EQ(utterance->usage().cut_pieces, 1);
}

TEST_F(Utterances, WhatFailsIsAnErrorAndWhatIsLeftIsCancelled) {
  EXPECT_THROW(say(R"({"input": "a", "voice": "bert"})"), RequestError);
  const std::string longest = "{\"input\": \"" + std::string(400, 'a') + "\"}";
  EXPECT_THROW(say(longest.c_str())->poll(), RequestError);  // no room for 800 tokens of speech
  service_.set_script([](const Request&, const std::shared_ptr<EventStream>& stream) {
    TokenEvent event;
    event.finish = FinishReason::error;
    event.error = "broken";
    stream->push(std::move(event));
    stream->close();
  });
  EXPECT_THROW(say(R"({"input": "a"})")->poll(), RequestError);
  service_.set_script([](const Request&, const std::shared_ptr<EventStream>&) {});
  say(R"({"input": "a"})")->poll();
  EXPECT_EQ(service_.cancelled(), 1u);
  ScriptedService silent;
  EXPECT_THROW(Utterance(silent, "x", request_of(R"({"input": "a"})"), 0, [] {}), RequestError);
}

TEST(SpeechRequest, NamesTheFieldThatIsWrong) {
  EXPECT_THAT(error_of("{}"), HasSubstr("input: input: missing"));
  EXPECT_THAT(error_of(("{\"input\": \"" + std::string(4097, 'a') + "\"}").c_str()),
              HasSubstr("4097 characters"));
  EXPECT_THAT(error_of(R"({"input": "a", "response_format": "aac"})"), HasSubstr("response_format"));
  EXPECT_THAT(error_of(R"({"input": "a", "stream_format": "ws"})"), HasSubstr("stream_format"));
  EXPECT_THAT(error_of(R"({"input": "a", "speed": 1.5})"), HasSubstr("speed"));
  EXPECT_THAT(error_of(R"({"input": "a", "instructions": "sadly"})"), HasSubstr("instructions"));
  EXPECT_THAT(error_of(R"({"input": "a", "ref_audio": "BQY="})"), HasSubstr("ref_text"));
  EXPECT_THAT(error_of(R"({"input": "a", "ref_text": "b"})"), HasSubstr("ref_audio"));
  EXPECT_THAT(error_of(R"({"input": "a", "ref_audio": "?", "ref_text": "b"})"),
              HasSubstr("base64"));
  EXPECT_THAT(error_of(R"({"input": "a", "voice": {"name": "b"}})"), HasSubstr("voice.id"));
  EXPECT_THAT(error_of(R"({"input": "a", "temperature": 0.5})"), HasSubstr("temperature"));
  EXPECT_THAT(error_of(R"({"input": "a", "stream_frmat": "sse"})"), HasSubstr("stream_frmat"));
  EXPECT_EQ(error_of(R"({"input": "a", "voice": {"id": "b"}, "speed": 1, "user": "me"})"),
            "no error");
}

}  // namespace
}  // namespace quern
