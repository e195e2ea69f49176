// SPDX-License-Identifier: Apache-2.0
// The routes of a server that speaks, over loopback.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "api/speech/scripted_speaker.h"
#include "base/log.h"
#include "media/audio/sound.h"
#include "prompt/data_url.h"
#include "server/api_server.h"
#include "server/raw_client.h"

namespace quern {
namespace {

using testing::HasSubstr;

class UtteranceRoutes : public testing::Test {
 protected:
  UtteranceRoutes() { set_log_level(LogLevel::off); }
  RawResponse ask(const std::string& request) {
    if (!server_) {
      ServerConfig config;
      config.port = 0;
      server_ = std::make_unique<ApiServer>(config, service_, ApiKeys(keys_), clock_, options_);
      server_->listen();
      server_->start();
    }
    return RawClient(server_->port()).ask(request);
  }
  RawResponse say(const std::string& body) { return ask(post("/v1/audio/speech", body)); }
  void give_voice() { service_.set_speaker(std::make_unique<ScriptedSpeaker>()); }

  std::vector<std::string> keys_;
  MonotonicClock clock_;
  ApiServerOptions options_;
  ScriptedService service_;
  std::unique_ptr<ApiServer> server_;
};

TEST_F(UtteranceRoutes, TheBodyIsAFileOfTheFormatThatWasAskedFor) {
  give_voice();
  for (const auto& [format, type] : std::vector<std::pair<std::string, std::string>>{
           {"wav", "audio/wav"}, {"flac", "audio/flac"}, {"opus", "audio/ogg"},
           {"mp3", "audio/mpeg"}}) {
    const RawResponse r =
        say(R"({"input": "a|b", "voice": "anna", "response_format": ")" + format + "\"}");
    ASSERT_EQ(r.status, 200) << r.body;
    EXPECT_EQ(r.header("content-type"), type);
    const Sound sound = decode_sound(std::as_bytes(std::span(r.body)), 24'000);
    EXPECT_GE(sound.samples.size(), 1'000u) << format;  // "Paris" twice
  }
  EXPECT_EQ(say(R"({"input": "a|b", "response_format": "pcm"})").body.size(), 2'000u);
  EXPECT_EQ(ask(get("/v1/audio/voices")).body, R"({"voices":["anna"]})");
}

TEST_F(UtteranceRoutes, EventsHoldTheSameSound) {
  give_voice();
  const RawResponse r = say(
      R"({"input": "a|b", "response_format": "pcm", "stream_format": "sse", "stream": true})");
  ASSERT_EQ(r.status, 200) << r.body;
  EXPECT_THAT(r.header("content-type"), HasSubstr("text/event-stream"));
  std::string sound, last;
  for (size_t at = 0; (at = r.body.find("data: ", at)) != std::string::npos;) {
    at += 6;
    const Json event = parse_json(r.body.substr(at, r.body.find('\n', at) - at), "event");
    last = event.at("type").get<std::string>();
    if (last == "speech.audio.delta") sound += decode_base64(event.at("audio").get<std::string>());
    if (last == "speech.audio.done") {
      EXPECT_EQ(event["usage"]["output_tokens"], 10);
    }
  }
  EXPECT_EQ(last, "speech.audio.done");
  EXPECT_EQ(sound, say(R"({"input": "a|b", "response_format": "pcm"})").body);
}

TEST_F(UtteranceRoutes, WhatIsWrongIsToldBeforeAnySound) {
  give_voice();
  EXPECT_EQ(say("{}").status, 400);
  EXPECT_EQ(say(R"({"input": "a", "voice": "bert"})").status, 404);
  EXPECT_EQ(say(R"({"input": "a", "model": "other"})").status, 404);
  service_.set_script([](const Request&, const std::shared_ptr<EventStream>& stream) {
    TokenEvent event;
    event.finish = FinishReason::error;
    event.error = "broken";
    stream->push(std::move(event));
    stream->close();
  });
  EXPECT_EQ(say(R"({"input": "a"})").status, 500);
}

TEST_F(UtteranceRoutes, AFailureBetweenEventsIsTheLastOfThem) {
  give_voice();
  std::jthread late;  // fails when the first piece's sound has left
  service_.set_script([&](const Request& r, const std::shared_ptr<EventStream>& stream) {
    if (r.prompt->ids.size() < 8) return push_reply(r, *stream, "ok");
    late = std::jthread([stream] {
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
      TokenEvent event;
      event.finish = FinishReason::error;
      event.error = "broken";
      stream->push(std::move(event));
      stream->close();
    });
  });
  const RawResponse r =
      say(R"({"input": "a|bcd", "stream_format": "sse", "response_format": "pcm"})");
  EXPECT_EQ(r.status, 200);
  EXPECT_THAT(r.body, HasSubstr("\"error\""));
  EXPECT_THAT(r.body, testing::Not(HasSubstr("speech.audio.done")));
}

TEST_F(UtteranceRoutes, AModelThatWritesDoesNotSpeak) {
  const RawResponse r = say(R"({"input": "a"})");
  EXPECT_EQ(r.status, 400);
  EXPECT_THAT(r.body, HasSubstr("does not speak"));
  EXPECT_EQ(ask(get("/v1/audio/voices")).body, R"({"voices":[]})");
}

}  // namespace
}  // namespace quern
