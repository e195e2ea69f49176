// SPDX-License-Identifier: Apache-2.0
// The playground's files over loopback, and the route that its page of the engine reads.
#include "server/ui.h"

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

class UiTest : public testing::Test {
 protected:
  UiTest() { set_log_level(LogLevel::off); }
  RawResponse ask(std::string_view bytes) {
    if (!server_) {
      config_.port = 0;
      server_ = std::make_unique<ApiServer>(
          config_, service_, ApiKeys(keys_), clock_, std::move(options_));
      server_->listen();
      server_->start();
    }
    RawClient client(server_->port());
    return client.ask(bytes);
  }

  std::vector<std::string> keys_;
  ServerConfig config_;
  ApiServerOptions options_;
  MonotonicClock clock_;
  ScriptedService service_;
  std::unique_ptr<ApiServer> server_;
};

TEST_F(UiTest, ServesEveryFileWithoutAKey) {
  keys_ = {"secret"};
  const RawResponse page = ask(get("/"));
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.header("content-type"), "text/html; charset=utf-8");
  EXPECT_THAT(page.body, HasSubstr("<!doctype html>"));
  EXPECT_GT(ui_files().size(), 2u);
  for (const UiFile& file : ui_files()) {
    const RawResponse r = ask(get("/ui/" + std::string(file.name)));
    EXPECT_EQ(r.status, 200) << file.name;
    EXPECT_EQ(r.body, file.bytes) << file.name;
    EXPECT_EQ(r.header("content-type"), file.content_type);
    EXPECT_EQ(r.header("x-content-type-options"), "nosniff");
  }
  EXPECT_EQ(ask(get("/v1/models")).status, 401);
}

TEST_F(UiTest, LetsNothingForeignRunOrLoad) {
  const std::string policy = ask(get("/")).header("content-security-policy");
  for (const char* part : {"default-src 'none'",
                           "script-src 'self';",
                           "style-src 'self';",
                           "connect-src 'self';",
                           "frame-ancestors 'none'",
                           "base-uri 'none'",
                           "require-trusted-types-for 'script'"})
    EXPECT_THAT(policy, HasSubstr(part));
  EXPECT_EQ(policy.find("unsafe"), std::string::npos);
  EXPECT_EQ(ask(get("/")).header("permissions-policy"),
            "camera=(self), microphone=(self), geolocation=()");
  // Nothing on the page comes from elsewhere, and no script or style stands in it.
  for (const UiFile& file : ui_files())
    for (const char* word :
         {"src=\"http", "href=\"http", "url(http", "@import", " style=\"", "onclick="})
      EXPECT_EQ(file.bytes.find(word), std::string_view::npos) << file.name << ": " << word;
}

TEST_F(UiTest, SaysWhenNothingHasChanged) {
  const RawResponse first = ask(get("/ui/app.js"));
  const std::string tag = first.header("etag");
  const RawResponse again = ask(get("/ui/app.js", "If-None-Match: W/" + tag + "\r\n"));
  EXPECT_EQ(again.status, 304);
  EXPECT_EQ(again.body, "");
  EXPECT_EQ(again.header("etag"), tag);
  EXPECT_EQ(again.header("content-length"), "");
  EXPECT_EQ(ask(get("/ui/app.js", "If-None-Match: \"0\"\r\n")).body, first.body);
}

TEST_F(UiTest, KnowsNoOtherFiles) {
  for (const char* path :
       {"/ui/none.js", "/ui/..%2fserve.cc", "/ui/%2e%2e/%2e%2e/etc/passwd", "/ui"})
    EXPECT_THAT(ask(get(path)).status, testing::AnyOf(400, 404)) << path;
  EXPECT_EQ(ask(post("/", "{}")).status, 405);
}

TEST_F(UiTest, CanBeLeftOut) {
  options_.serves_ui = false;
  EXPECT_EQ(ask(get("/")).status, 404);
  EXPECT_EQ(ask(get("/ui/app.js")).status, 404);
  EXPECT_EQ(ask(get("/v1/engine")).status, 200);
}

TEST_F(UiTest, TellsOfTheEngine) {
  EngineStats stats;
  stats.running = 2;
  stats.waiting = 1;
  stats.blocks_used = 7;
  stats.prompt_tokens = 40;
  stats.cached_tokens = 16;
  WorkerReport worker;
  worker.place = "10.0.0.7 pid 4711";
  worker.memory_bytes = 123;
  stats.workers = {worker};
  service_.set_stats(stats);
  int calls = 0;
  options_.make_plan = [&] {
    return format(R"({{"ranks": [{{"rank": 0}}], "calls": {}}})", ++calls);
  };
  for (int i = 0; i < 2; ++i) {
    const RawResponse r = ask(get("/v1/engine"));
    const Json body = parse_json(r.body, "engine");
    EXPECT_EQ(body["requests"]["running"], 2);
    EXPECT_EQ(body["requests"]["waiting"], 1);
    EXPECT_EQ(body["kv_cache"]["blocks_used"], 7);
    EXPECT_EQ(body["prefix_cache"]["hit_tokens"], 16);
    EXPECT_EQ(body["workers"][0]["memory_bytes"], 123);
    EXPECT_EQ(body["plan"]["ranks"][0]["rank"], 0);
    EXPECT_EQ(body["plan"]["calls"], 1);
    EXPECT_EQ(r.body.find("4711"), std::string::npos);
  }
}

TEST_F(UiTest, KeepsTheEngineForKeysThatMayWatch) {
  keys_ = {"secret"};
  EXPECT_EQ(ask(get("/v1/engine")).status, 401);
  EXPECT_EQ(ask(get("/v1/engine", "Authorization: Bearer secret\r\n")).status, 200);
  const Json body =
      parse_json(ask(get("/v1/engine", "Authorization: Bearer secret\r\n")).body, "engine");
  EXPECT_TRUE(body["plan"].is_null());
}

}  // namespace
}  // namespace quern
