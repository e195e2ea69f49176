// SPDX-License-Identifier: Apache-2.0
// The API over loopback, with a scripted model behind it.
#include "server/api_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "api/scripted_service.h"
#include "base/log.h"
#include "server/raw_client.h"

namespace quern {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string chat_body(const std::string& fields = "") {
  return R"({"model": "scripted", "messages": [{"role": "user", "content": "hi"}])" + fields + "}";
}

class ApiServerTest : public testing::Test {
 protected:
  ApiServerTest() {
    set_log_level(LogLevel::off);
    config_.port = 0;
    options_.version = "1.2.3";
  }
  void start() {
    server_ = std::make_unique<ApiServer>(config_, service_, ApiKeys(keys_), clock_, options_);
    server_->listen();
    server_->start();
  }
  RawResponse ask(std::string_view bytes) {
    if (!server_) start();
    RawClient client(server_->port());
    return client.ask(bytes);
  }
  RawResponse chat(const std::string& fields = "") {
    return ask(post("/v1/chat/completions", chat_body(fields)));
  }

  // The code of an error answer, checked for its shape.
  static std::string code_of(const RawResponse& r) {
    const Json error = parse_json(r.body, "error")["error"];
    for (const char* key : {"message", "type", "param", "code"})
      EXPECT_TRUE(error.contains(key)) << r.body;
    return error["code"].is_null() ? "" : error["code"].get<std::string>();
  }
  // The value of a sample in /metrics ("name{labels}" as a prefix); -1 if it is not there.
  double metric(const std::string& sample) {
    const std::string text = ask(get("/metrics")).body;
    const size_t at = text.find("\n" + sample);
    return at == std::string::npos ? -1
                                   : std::stod(text.substr(text.find(' ', at + sample.size()) + 1));
  }

  ServerConfig config_;
  std::vector<std::string> keys_;
  ApiServerOptions options_;
  MonotonicClock clock_;
  ScriptedService service_;
  std::unique_ptr<ApiServer> server_;
};

std::vector<std::string> events_of(const std::string& body) {
  std::vector<std::string> out;
  for (size_t at = 0; at < body.size();) {
    const size_t end = std::min(body.find("\n\n", at), body.size());
    out.push_back(body.substr(at, end - at));
    at = end + 2;
  }
  return out;
}

TEST_F(ApiServerTest, AnswersAChat) {
  const RawResponse r = chat();
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.header("content-type"), "application/json");
  const Json body = parse_json(r.body, "answer");
  EXPECT_EQ(body["choices"][0]["message"]["content"], "Paris");
  EXPECT_EQ(body["id"], "chatcmpl-" + r.header("x-request-id"));
}

TEST_F(ApiServerTest, StreamsAChat) {
  const RawResponse r = chat(R"(, "stream": true, "stream_options": {"include_usage": true})");
  EXPECT_THAT(r.header("content-type"), HasSubstr("text/event-stream"));
  EXPECT_THAT(r.header("cache-control"), HasSubstr("no-cache"));
  const auto events = events_of(r.body);
  EXPECT_EQ(events.back(), "data: [DONE]");
  std::string text;
  Json usage;
  for (const std::string& event : events) {
    ASSERT_EQ(event.substr(0, 6), "data: ") << event;
    if (event == "data: [DONE]") break;
    const Json chunk = parse_json(event.substr(6), "chunk");
    usage = chunk.value("usage", Json());
    for (const Json& choice : chunk["choices"])
      if (choice["delta"].contains("content")) text += choice["delta"]["content"];
  }
  EXPECT_EQ(text, "Paris");
  EXPECT_EQ(usage["completion_tokens"], 6);
}

TEST_F(ApiServerTest, AnswersCompletionsOfBatches) {
  const RawResponse r =
      ask(post("/v1/completions", R"({"prompt": ["a", "b"], "max_tokens": 2, "echo": true})"));
  const Json body = parse_json(r.body, "answer");
  EXPECT_EQ(body["choices"][0]["text"], "aPa");
  EXPECT_EQ(body["choices"][1]["text"], "bPa");
}

TEST_F(ApiServerTest, TellsOfItsModels) {
  EXPECT_EQ(parse_json(ask(get("/v1/models")).body, "models")["data"][0]["id"], "scripted");
  EXPECT_EQ(parse_json(ask(get("/v1/models/alias")).body, "model")["id"], "alias");
  const RawResponse r = ask(get("/v1/models/org/other"));
  EXPECT_EQ(r.status, 404);
  EXPECT_EQ(code_of(r), "model_not_found");
}

TEST_F(ApiServerTest, TellsOfItsHealth) {
  for (const char* path : {"/health", "/ready", "/ping"})
    EXPECT_EQ(ask(get(path)).status, 200) << path;
  EXPECT_EQ(ask(get("/version")).body, R"({"version":"1.2.3"})");
  service_.set_recovering(true);
  EngineStats stats;
  stats.epoch = 2;
  stats.losses = 1;
  stats.recovery_us = 2'500'000;
  stats.workers = {{0, "here", 100, 1}, {1, "there", 200, 1}};
  service_.set_stats(stats);
  for (const char* path : {"/health", "/ready"}) {
    const RawResponse r = ask(get(path));
    EXPECT_EQ(r.status, std::string_view(path) == "/ready" ? 503 : 200);
    EXPECT_EQ(r.body, R"({"status":"recovering","epoch":2})");
  }
  EXPECT_EQ(metric("quern:worker_losses_total"), 1);
  EXPECT_EQ(metric("quern:worker_recovery_seconds_total"), 2.5);
  const std::string text = ask(get("/metrics")).body;
  EXPECT_THAT(text, HasSubstr(R"(,rank="1"} 200)"));
  EXPECT_THAT(text, HasSubstr("quern:workers_recovering{"));
  service_.set_recovering(false);
  service_.set_stalled(true);
  stats.is_stalled = true;
  stats.stalls = 2;
  stats.last_step_age_us = 400'000'000;
  service_.set_stats(stats);
  for (const char* path : {"/health", "/ready", "/ping"}) {
    const RawResponse r = ask(get(path));
    EXPECT_EQ(r.status, 503) << path;
    EXPECT_THAT(r.body, HasSubstr("has not returned for 400 s")) << path;
  }
  EXPECT_EQ(metric("quern:engine_stalled"), 1);
  EXPECT_EQ(metric("quern:stalls_total"), 2);
  service_.set_stalled(false);
  EXPECT_EQ(ask(get("/health")).status, 200);
  service_.set_healthy(false);
  for (const char* path : {"/health", "/ready", "/ping"})
    EXPECT_EQ(ask(get(path)).status, 503) << path;
  EXPECT_THAT(server_->routes(), testing::Contains("POST /v1/chat/completions"));
}

TEST_F(ApiServerTest, Tokenizes) {
  const Json there = parse_json(
      ask(post("/tokenize", R"({"prompt": "hi", "return_token_strs": true})")).body, "t");
  EXPECT_EQ(there["tokens"], Json::array({104, 105}));
  EXPECT_EQ(there["count"], 2);
  EXPECT_EQ(there["max_model_len"], 512);
  EXPECT_EQ(parse_json(ask(post("/tokenize", chat_body())).body, "t")["count"], 2);
  EXPECT_EQ(ask(post("/detokenize", R"({"tokens": [104, 105]})")).body, R"({"prompt":"hi"})");
  EXPECT_EQ(ask(post("/detokenize", R"({"tokens": [99999]})")).status, 400);
}

TEST_F(ApiServerTest, NamesWhatIsWrongWithABody) {
  const std::string deep = std::string(10'000, '[') + std::string(10'000, ']');
  for (const std::string& body : {std::string("{"),
                                  std::string(),
                                  deep,
                                  "{\"messages\": " + deep + "}",
                                  std::string("{\"a\": \"\xff\"}"),
                                  std::string("{\"temperature\": 1e999}"),
                                  std::string("[]"),
                                  std::string("null")})
    EXPECT_EQ(ask(post("/v1/chat/completions", body)).status, 400) << body.substr(0, 40);
  const Json error = parse_json(chat(R"(, "top_p": 7)").body, "error")["error"];
  EXPECT_EQ(error["param"], "top_p");
  EXPECT_EQ(error["type"], "invalid_request_error");
  EXPECT_EQ(chat(R"(, "tool_choice": "required")").status, 400);
  const RawResponse other =
      ask(post("/v1/chat/completions",
               R"({"model": "gpt-9", "messages": [{"role": "user", "content": "x"}]})"));
  EXPECT_EQ(other.status, 404);
}

TEST_F(ApiServerTest, RefusesPromptsThatAreTooLong) {
  const RawResponse r =
      ask(post("/v1/completions", R"({"prompt": ")" + std::string(600, 'x') + "\"}"));
  EXPECT_EQ(r.status, 400);
  EXPECT_EQ(code_of(r), "context_length_exceeded");
  EXPECT_THAT(r.body, testing::AllOf(HasSubstr("600"), HasSubstr("512")));
}

TEST_F(ApiServerTest, KnowsItsPathsAndMethods) {
  EXPECT_EQ(ask(get("/v2/models")).status, 404);
  const RawResponse missing = ask(post("/v1/embeddings", R"({"input": "x"})"));
  EXPECT_EQ(missing.status, 404);
  EXPECT_THAT(missing.body, HasSubstr("--runner pooling"));
  const RawResponse wrong = ask(get("/v1/chat/completions"));
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.header("allow"), "POST, OPTIONS");
  const RawResponse options = ask("OPTIONS /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(options.status, 200);
  EXPECT_EQ(options.header("allow"), "GET, HEAD, OPTIONS");
  EXPECT_EQ(ask("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                "text/plain\r\nContent-Length: 2\r\n\r\n{}")
                .status,
            415);
  RawClient head(server_->port());
  head.send("HEAD /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(head.read_response(false).status, 200);
}

TEST_F(ApiServerTest, AFullQueueSaysTryAgain) {
  service_.set_script([](const Request&, const std::shared_ptr<EventStream>&) {
    fail(ErrorCode::exhausted, "the queue is full");
  });
  const RawResponse r = chat(R"(, "stream": true)");
  EXPECT_EQ(r.status, 429);
  EXPECT_EQ(r.header("retry-after"), "1");
  EXPECT_EQ(metric("vllm:admission_rejections_total"), 1);
}

TEST_F(ApiServerTest, AFailedStepFailsItsRequestAlone) {
  service_.set_script([](const Request&, const std::shared_ptr<EventStream>& stream) {
    TokenEvent failed;
    failed.finish = FinishReason::error;
    failed.error_code = ErrorCode::internal;
    failed.error = "step 7 failed";
    stream->push(failed);
    stream->close();
  });
  const RawResponse whole = chat();
  EXPECT_EQ(whole.status, 500);
  EXPECT_THAT(whole.body, HasSubstr("step 7 failed"));
  const auto events = events_of(chat(R"(, "stream": true)").body);
  EXPECT_THAT(events.at(events.size() - 2), HasSubstr("step 7 failed"));
  EXPECT_EQ(events.back(), "data: [DONE]");
  service_.set_script(reply("Paris"));
  EXPECT_EQ(chat().status, 200);
  EXPECT_EQ(metric(R"(vllm:request_success_total{engine="0",finished_reason="error")"), 2);
}

TEST_F(ApiServerTest, LogitsThatAreNoNumbersHaveACodeOfTheirOwn) {
  service_.set_script([](const Request&, const std::shared_ptr<EventStream>& stream) {
    TokenEvent failed;
    failed.finish = FinishReason::error;
    failed.error = "logits: 3 of 97 are not a number";
    failed.error_reason = "numeric_error";
    stream->push(failed);
    stream->close();
  });
  const RawResponse whole = chat();
  EXPECT_EQ(whole.status, 500);
  EXPECT_THAT(whole.body, HasSubstr(R"("code":"numeric_error")"));
  EXPECT_THAT(chat(R"(, "stream": true)").body, HasSubstr(R"("code":"numeric_error")"));
}

TEST_F(ApiServerTest, AVanishedClientCancelsItsRequest) {
  service_.set_script([](const Request&, const std::shared_ptr<EventStream>& stream) {
    TokenEvent event;
    event.token = 'x';
    stream->push(event);
  });
  start();
  size_t expected = 0;
  for (const char* fields : {"", R"(, "stream": true)", R"(, "n": 4)"}) {
    RawClient client(server_->port());
    client.send(post("/v1/chat/completions", chat_body(fields)));
    if (std::string_view(fields).find("stream") != std::string_view::npos) {
      EXPECT_THAT(client.read_until("\"x\""), HasSubstr("200 OK"));
    } else {
      ASSERT_TRUE(service_.await_submit(expected + 1));
    }
    client.close();
    EXPECT_TRUE(service_.await_cancel(++expected)) << fields;
  }
}

// An engine that has more to say than the reader takes: the queue between them stays bounded, and
// in the end the reader is cut off.
TEST_F(ApiServerTest, ASlowReaderHoldsUpNothingButItself) {
  config_.write_timeout_us = 100'000;
  std::atomic<bool> is_over = false;
  std::atomic<int64_t> pushed = 0;
  std::thread engine;
  service_.set_script([&](const Request&, const std::shared_ptr<EventStream>& stream) {
    engine = std::thread([&, stream] {
      TokenEvent event;
      event.token = 'x';
      while (!is_over) {
        if (stream->has_room())
          stream->push(event), ++pushed;
        else
          std::this_thread::yield();
      }
    });
  });
  start();
  RawClient client(server_->port(), 4096);
  client.send(post("/v1/chat/completions", chat_body(R"(, "stream": true)")));
  EXPECT_TRUE(service_.await_cancel());
  is_over = true;
  engine.join();
  EXPECT_LT(pushed, 200'000);  // what socket buffers hold, and no more
  service_.set_script(reply("Paris"));
  EXPECT_EQ(chat().status, 200);
}

TEST_F(ApiServerTest, ManyStreamsAtOnceAreEachWhole) {
  start();
  std::vector<std::thread> clients;
  std::atomic<int> whole = 0;
  for (int i = 0; i < 16; ++i)
    clients.emplace_back([&] {
      RawClient client(server_->port());
      for (int j = 0; j < 5; ++j) {
        const RawResponse r =
            client.ask(post("/v1/chat/completions", chat_body(R"(, "stream": true)")));
        if (r.status == 200 && r.body.ends_with("data: [DONE]\n\n")) ++whole;
      }
    });
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(whole, 80);
  EXPECT_EQ(service_.cancelled(), 0u);
}

TEST_F(ApiServerTest, DrainsRunningStreams) {
  std::shared_ptr<EventStream> running;
  service_.set_script([&](const Request& request, const std::shared_ptr<EventStream>& stream) {
    TokenEvent event;
    event.token = 'x';
    stream->push(event);
    if (request.n == 1) running = stream;
  });
  start();
  RawClient client(server_->port());
  client.send(post("/v1/chat/completions", chat_body(R"(, "stream": true)")));
  client.read_until("\"x\"");
  server_->stop();
  while (RawClient(server_->port()).is_connected()) std::this_thread::yield();
  TokenEvent last;
  last.token = 'y';
  last.finish = FinishReason::length;
  running->push(last);
  running->close();
  EXPECT_THAT(client.read_to_end(), testing::AllOf(HasSubstr("\"y\""), HasSubstr("data: [DONE]")));
  client.close();
  EXPECT_EQ(server_->wait(), 0);
}

TEST_F(ApiServerTest, KeepsSilentStreamsAlive) {
  config_.sse_keep_alive_us = 5'000;
  service_.set_script([](const Request&, const std::shared_ptr<EventStream>&) {});
  start();
  RawClient client(server_->port());
  client.send(post("/v1/chat/completions", chat_body(R"(, "stream": true)")));
  EXPECT_FALSE(client.read_until(": keep-alive\n\n").empty());
  EXPECT_FALSE(client.read_until(": keep-alive\n\n").empty());
}

TEST_F(ApiServerTest, SaysInStreamsThatWorkersAreBeingReplaced) {
  config_.sse_recovering_us = 5'000;
  service_.set_script([](const Request&, const std::shared_ptr<EventStream>&) {});
  service_.set_recovering(true);
  start();
  RawClient client(server_->port());
  client.send(post("/v1/chat/completions", chat_body(R"(, "stream": true)")));
  EXPECT_FALSE(client.read_until(": recovering\n\n").empty());
  EXPECT_FALSE(client.read_until(": recovering\n\n").empty());
}

TEST_F(ApiServerTest, SeedsComeFromTheOperatorsSeed) {
  options_.seed = 9;
  chat();
  chat();
  server_.reset();
  chat();
  const auto requests = service_.requests();
  EXPECT_NE(requests[0].params.seed, requests[1].params.seed);
  EXPECT_EQ(requests[0].params.seed, requests[2].params.seed);
  chat(R"(, "seed": 5)");
  EXPECT_EQ(service_.requests()[3].params.seed, 5u);
}

TEST_F(ApiServerTest, EngineRequestsHaveIdsOfTheirOwn) {
  for (int i = 0; i < 2; ++i)
    ask(post("/v1/chat/completions", chat_body(), "X-Request-Id: same\r\n"));
  EXPECT_NE(service_.requests()[0].id, service_.requests()[1].id);
}

TEST_F(ApiServerTest, MetricsCarryTheNamesThatDashboardsRead) {
  EngineStats stats;
  stats.running = 3;
  stats.waiting = 2;
  stats.blocks_total = 8;
  stats.blocks_used = 2;
  stats.prompt_tokens = 100;
  stats.cached_tokens = 40;
  stats.numeric_errors = 6;
  stats.speculation = {.drafts = 5, .draft_tokens = 20, .accepted_tokens = 9};
  stats.speculation.accepted_per_position[1] = 4;
  service_.set_stats(stats);
  chat(R"(, "n": 2)");
  const std::string labels = R"({engine="0",model_name="scripted")";
  EXPECT_EQ(metric("vllm:num_requests_running" + labels), 3);
  EXPECT_EQ(metric("vllm:num_requests_waiting" + labels), 2);
  EXPECT_EQ(metric("vllm:kv_cache_usage_perc" + labels), 0.25);
  EXPECT_EQ(metric("vllm:gpu_cache_usage_perc" + labels), 0.25);
  EXPECT_EQ(metric("vllm:prompt_tokens_total" + labels), 100);
  EXPECT_EQ(metric("vllm:gpu_prefix_cache_queries_total" + labels), 100);
  EXPECT_EQ(metric("vllm:gpu_prefix_cache_hits_total" + labels), 40);
  EXPECT_EQ(metric("vllm:cpu_cache_usage_perc" + labels), 0);
  EXPECT_EQ(metric(R"(vllm:num_requests_waiting_by_reason{engine="0",model_name="scripted")"), 2);
  EXPECT_EQ(metric("vllm:prefix_cache_hits_total" + labels), 40);
  EXPECT_EQ(metric("quern:numeric_errors_total" + labels), 6);
  EXPECT_EQ(metric("vllm:spec_decode_num_drafts_total" + labels), 5);
  EXPECT_EQ(metric("vllm:spec_decode_num_draft_tokens_total" + labels), 20);
  EXPECT_EQ(metric("vllm:spec_decode_num_accepted_tokens_total" + labels), 9);
  EXPECT_EQ(metric(R"(vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",)"
                   R"(model_name="scripted",position="1")"),
            4);
  EXPECT_EQ(metric("vllm:time_to_first_token_seconds_count" + labels), 2);
  EXPECT_EQ(metric("vllm:e2e_request_latency_seconds_count" + labels), 2);
  EXPECT_EQ(metric("vllm:request_generation_tokens_sum" + labels), 12);
  EXPECT_EQ(metric(R"(vllm:request_success_total{engine="0",finished_reason="stop")"), 2);
  // Counted once the answer is out, so perhaps a moment later.
  const std::string http =
      R"(http_requests_total{handler="/v1/chat/completions",method="POST",status="2xx")";
  for (int i = 0; i < 1000 && metric(http) < 1; ++i) std::this_thread::yield();
  EXPECT_EQ(metric(http), 1);
  EXPECT_THAT(ask(get("/metrics")).body, HasSubstr("cache_config_info{block_size=\"16\""));
}

}  // namespace
}  // namespace quern
