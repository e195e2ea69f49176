// SPDX-License-Identifier: Apache-2.0
// The routes of a server that pools, over loopback.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/scripted_service.h"
#include "base/log.h"
#include "server/api_server.h"
#include "server/raw_client.h"

namespace quern {
namespace {

using testing::HasSubstr;

class PoolingRoutes : public testing::Test {
 protected:
  PoolingRoutes() {
    set_log_level(LogLevel::off);
    service_.set_script(pooled_reply([](const std::vector<int32_t>& ids) {
      return std::vector<float>{static_cast<float>(ids.size()), 0};
    }));
    Pooling pooling;
    pooling.size = 2;
    service_.set_pooling(pooling);
  }
  RawResponse ask(const std::string& path, const std::string& body) {
    if (!server_) {
      ServerConfig config;
      config.port = 0;
      server_ = std::make_unique<ApiServer>(config, service_, ApiKeys(keys_), clock_, options_);
      server_->listen();
      server_->start();
    }
    return RawClient(server_->port()).ask(post(path, body));
  }
  std::string metrics() { return RawClient(server_->port()).ask(get("/metrics")).body; }

  std::vector<std::string> keys_;
  MonotonicClock clock_;
  ApiServerOptions options_;
  ScriptedService service_;
  std::unique_ptr<ApiServer> server_;
};

TEST_F(PoolingRoutes, Answer) {
  const RawResponse embedded = ask("/v1/embeddings", R"({"input": ["abc", "d"]})");
  EXPECT_EQ(embedded.status, 200) << embedded.body;
  EXPECT_EQ(parse_json(embedded.body, "answer")["data"].size(), 2u);
  for (const char* path : {"/score", "/v1/score"})
    EXPECT_EQ(ask(path, R"({"text_1": "a", "text_2": "b"})").status, 200) << path;
  for (const char* path : {"/rerank", "/v1/rerank", "/v2/rerank"})
    EXPECT_EQ(ask(path, R"({"query": "a", "documents": ["b"]})").status, 200) << path;
  EXPECT_EQ(ask("/classify", R"({"input": "a"})").status, 404);
  EXPECT_THAT(metrics(),
              HasSubstr("vllm:request_success_total{engine=\"0\",finished_reason="
                        "\"stop\",model_name=\"scripted\"} 12"));
}

TEST_F(PoolingRoutes, NameTheFieldThatIsWrong) {
  const RawResponse r = ask("/v1/embeddings", R"({"input": "x", "dimensions": 1})");
  EXPECT_EQ(r.status, 400);
  EXPECT_EQ(parse_json(r.body, "error")["error"]["param"], "dimensions");
  EXPECT_EQ(ask("/v1/embeddings", "[").status, 400);
}

TEST_F(PoolingRoutes, LeaveNothingToGenerate) {
  for (const char* path : {"/v1/chat/completions",
                           "/v1/completions",
                           "/v1/messages",
                           "/v1/responses",
                           "/v1/completions/render",
                           "/v1/messages/count_tokens"}) {
    const RawResponse r = ask(path, "{}");
    EXPECT_EQ(r.status, 404) << path;
    EXPECT_THAT(r.body, HasSubstr("makes embeddings and generates no text")) << path;
  }
}

TEST_F(PoolingRoutes, AFullQueueIs429AndAFailedStep500) {
  service_.set_script([](const Request&, const std::shared_ptr<EventStream>&) {
    fail(ErrorCode::exhausted, "the queue is full");
  });
  EXPECT_EQ(ask("/v1/embeddings", R"({"input": "x"})").status, 429);
  service_.set_script([](const Request&, const std::shared_ptr<EventStream>& stream) {
    TokenEvent event;
    event.finish = FinishReason::error;
    event.error = "not numbers";
    event.error_reason = "numeric_error";
    stream->push(std::move(event));
    stream->close();
  });
  const RawResponse r = ask("/v1/embeddings", R"({"input": "x"})");
  EXPECT_EQ(r.status, 500);
  EXPECT_EQ(parse_json(r.body, "error")["error"]["code"], "numeric_error");
  EXPECT_THAT(metrics(), HasSubstr("reason=\"queue_full\"} 1"));
}

TEST_F(PoolingRoutes, AskForAKey) {
  keys_ = {"secret"};
  EXPECT_EQ(ask("/v1/embeddings", R"({"input": "x"})").status, 401);
}

}  // namespace
}  // namespace quern
