// SPDX-License-Identifier: Apache-2.0
// Who is let in: keys and what they open, web origins, names in Host, files of TLS.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "api/scripted_service.h"
#include "base/log.h"
#include "server/api_server.h"
#include "server/raw_client.h"

namespace quern {
namespace {

using testing::HasSubstr;

HttpRequest with(std::string name, std::string value) {
  HttpRequest request;
  request.headers = {{std::move(name), std::move(value)}};
  return request;
}

TEST(ApiKeys, AcceptsItsKeysOnly) {
  EXPECT_FALSE(ApiKeys().is_required());
  const ApiKeys keys(std::vector<std::string>{"first", "second-key"});
  EXPECT_NE(keys.find(with("authorization", "Bearer first")), nullptr);
  EXPECT_NE(keys.find(with("authorization", "bearer  second-key")), nullptr);
  EXPECT_NE(keys.find(with("x-api-key", "first")), nullptr);
  for (const char* wrong : {"",
                            "Bearer",
                            "Bearer ",
                            "first",
                            "Basic first",
                            "Bearer firs",
                            "Bearer first ",
                            "Bearer firstfirst",
                            "Bearer FIRST"})
    EXPECT_EQ(keys.find(with("authorization", wrong)), nullptr) << wrong;
  EXPECT_EQ(keys.find(with("x-api-key", "")), nullptr);
  for (const char* wrong : {"", "a b", "a\n", "\xc3\xa9"})
    EXPECT_THROW(ApiKeys(std::vector<std::string>{wrong}), Error) << wrong;
  EXPECT_THROW(ApiKeys(std::vector<std::string>{"a", "a"}), Error);
}

class KeyFile : public testing::Test {
 protected:
  // What a file of this text makes of a set of keys; the message if it is refused.
  std::string read(const std::string& text, ApiKeys& keys) {
    const auto path =
        std::filesystem::temp_directory_path() / ("quern-keys-" + std::to_string(getpid()));
    std::ofstream(path) << text;
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    std::string message;
    try {
      keys.add_file(path);
    } catch (const Error& e) {
      message = e.what();
    }
    std::filesystem::remove(path);
    return message;
  }
};

TEST_F(KeyFile, HoldsKeysAndScopes) {
  ApiKeys keys;
  EXPECT_EQ(read("# ours\n\nplain\r\n  scraper\tmetrics \nboss infer,metrics,admin\n", keys), "");
  const auto* plain = keys.find(with("authorization", "Bearer plain"));
  const auto* scraper = keys.find(with("authorization", "Bearer scraper"));
  const auto* boss = keys.find(with("authorization", "Bearer boss"));
  ASSERT_TRUE(plain && scraper && boss);
  EXPECT_TRUE(plain->may(Scope::infer) && plain->may(Scope::metrics));
  EXPECT_FALSE(plain->may(Scope::admin));
  EXPECT_FALSE(scraper->may(Scope::infer));
  EXPECT_TRUE(boss->may(Scope::admin));
}

TEST_F(KeyFile, SaysWhichLineIsWrong) {
  ApiKeys keys;
  EXPECT_THAT(read("a\nb root\n", keys),
              testing::AllOf(HasSubstr("line 2"), HasSubstr("\"root\"")));
  EXPECT_THAT(read("c infer metrics\n", keys), HasSubstr("line 1"));
  EXPECT_THAT(read("d\nd\n", keys), testing::AllOf(HasSubstr("line 2"), HasSubstr("twice")));
  // Keys themselves are not to stand in messages.
  EXPECT_THAT(read("secret\nsecret\n", keys), testing::Not(HasSubstr("secret")));
  EXPECT_THAT(read("# nothing\n", keys), HasSubstr("no key"));
  EXPECT_THROW(keys.add_file("/no/such/file"), Error);
}

class AccessTest : public testing::Test {
 protected:
  AccessTest() {
    set_log_level(LogLevel::off);
    config_.port = 0;
  }
  RawResponse ask(std::string_view bytes) {
    if (!server_) start();
    return RawClient(server_->port()).ask(bytes);
  }
  void start() {
    server_ = std::make_unique<ApiServer>(config_, service_, std::move(keys_), clock_, options_);
    server_->listen();
    server_->start();
  }
  static std::string hosted(std::string_view host, std::string_view headers = "") {
    return format("GET /v1/models HTTP/1.1\r\nHost: {}\r\n{}\r\n", host, headers);
  }

  ServerConfig config_;
  ApiKeys keys_;
  ApiServerOptions options_;
  MonotonicClock clock_;
  ScriptedService service_;
  std::unique_ptr<ApiServer> server_;
};

TEST_F(AccessTest, AsksForAKeyUnderEverySpelling) {
  keys_ = ApiKeys(std::vector<std::string>{"secret", "other"});
  for (const char* path : {"/v1/models",
                           "//v1//models",
                           "///v1/models",
                           "/v1/models/",
                           "/v1/./models",
                           "/./v1/models",
                           "/x/../v1/models",
                           "/v1/x/../models",
                           "/health/../v1/models",
                           "/v1/%6dodels",
                           "/%76%31/models",
                           "/v1%2fmodels",
                           "/health/%2e%2e/v1/models",
                           "/v1/models?x=/health",
                           "/V1/MODELS",
                           "/HEALTH",
                           "/Health",
                           "/health/x",
                           "/health%20",
                           "/healthz",
                           "/version/v1/models",
                           "/metrics",
                           "/metrics/",
                           "/nothing",
                           "/ui",
                           "/ui/x/../../v1/models",
                           "/ui/app.js/x",
                           "http://localhost/v1/models",
                           "http://localhost/health/../metrics"})
    EXPECT_EQ(ask(get(path)).status, 401) << path;
  // What is no path at all is refused before anything is looked up.
  for (const char* path : {"/..", "/%00", "/%", "*", "v1/models"})
    EXPECT_EQ(ask(get(path)).status, 400) << path;
  for (const std::string& route : server_->routes()) {
    const std::string method = route.substr(0, route.find(' ')),
                      path = route.substr(method.size() + 1);
    const bool is_open = path == "/" || path == "/health" || path == "/ready" || path == "/ping" ||
                         path == "/version";
    const bool is_file = path.starts_with("/ui/");  // and none is called so
    const std::string body =
        method == "GET" ? "" : "Content-Type: application/json\r\nContent-Length: 2\r\n";
    const RawResponse r = ask(format("{} {} HTTP/1.1\r\nHost: localhost\r\n{}\r\n{}",
                                     method,
                                     path,
                                     body,
                                     body.empty() ? "" : "{}"));
    EXPECT_EQ(r.status, is_open ? 200 : is_file ? 404 : 401) << route;
  }
  for (const char* path : {"//health", "/./ready", "/version/", "/%70ing"})
    EXPECT_EQ(ask(get(path)).status, 200) << path;
  EXPECT_EQ(ask(post("/v1/completions", "{}", "Authorization: Bearer secreT\r\n")).status, 401);
  EXPECT_EQ(ask(get("/v1/models", "Authorization: Bearer other\r\n")).status, 200);
  EXPECT_EQ(ask(get("/v1/models", "x-api-key: other\r\n")).status, 200);
  EXPECT_EQ(ask(get("/v1/models", "Authorization: Bearer no\r\nx-api-key: other\r\n")).status, 401);
}

TEST_F(AccessTest, AKeyOpensItsScopesOnly) {
  keys_.add("user", parse_scopes("infer"));
  keys_.add("scraper", parse_scopes("metrics"));
  const auto status = [&](const char* path, const char* key) {
    return ask(get(path, format("Authorization: Bearer {}\r\n", key))).status;
  };
  EXPECT_EQ(status("/v1/models", "user"), 200);
  EXPECT_EQ(status("/metrics", "user"), 403);
  EXPECT_EQ(status("/metrics", "scraper"), 200);
  EXPECT_EQ(status("/v1/models", "scraper"), 403);
  EXPECT_EQ(status("//metrics/", "user"), 403);
  EXPECT_THROW(parse_scopes("infer,root"), Error);
}

TEST_F(AccessTest, BoundsWhatAKeyRunsAtATime) {
  keys_ = ApiKeys(std::vector<std::string>{"one", "two"});
  options_.max_concurrency_per_key = 2;
  service_.set_script([](const Request&, const std::shared_ptr<EventStream>& stream) {
    TokenEvent event;
    event.token = 'x';
    stream->push(event);
  });
  start();
  const std::string body = R"({"messages": [{"role": "user", "content": "hi"}], "stream": true})";
  const std::string mine = post("/v1/chat/completions", body, "Authorization: Bearer one\r\n");
  RawClient first(server_->port()), second(server_->port());
  first.send(mine);
  second.send(mine);
  first.read_until("\"x\"");
  second.read_until("\"x\"");
  const RawResponse third = ask(mine);
  EXPECT_EQ(third.status, 429);
  EXPECT_EQ(third.header("retry-after"), "1");
  RawClient other(server_->port());
  other.send(post("/v1/chat/completions", body, "x-api-key: two\r\n"));
  EXPECT_THAT(other.read_until("\"x\""), HasSubstr("200 OK"));
  first.close();
  ASSERT_TRUE(service_.await_cancel(1));
  RawClient again(server_->port());
  std::string seen;
  // The slot is free a moment after the request was cancelled.
  for (int i = 0; i < 2000 && seen.find("200 OK") == std::string::npos; ++i) {
    again.send(mine);
    seen = again.read_until("\r\n\r\n");
    if (seen.find("429") != std::string::npos) again.read_until("}}");
  }
  EXPECT_THAT(seen, HasSubstr("200 OK"));
}

TEST_F(AccessTest, SendsNoCorsHeaderUnlessAsked) {
  const RawResponse r = ask(get("/v1/models", "Origin: http://localhost:3000\r\n"));
  EXPECT_EQ(r.status, 200);
  EXPECT_THAT(r.head, testing::Not(HasSubstr("Access-Control")));
  const RawResponse preflight =
      ask("OPTIONS /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3000\r\n"
          "Access-Control-Request-Method: POST\r\n\r\n");
  EXPECT_THAT(preflight.head, testing::Not(HasSubstr("Access-Control")));
}

std::string preflight(std::string_view origin, std::string_view method = "POST") {
  return format(
      "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: api\r\nOrigin: {}\r\n"
      "Access-Control-Request-Method: {}\r\n"
      "Access-Control-Request-Headers: content-type, authorization\r\n\r\n",
      origin,
      method);
}

TEST_F(AccessTest, AnswersTheOriginsItIsToldTo) {
  keys_ = ApiKeys(std::vector<std::string>{"secret"});
  options_.cors = {.origins = {"https://app.example"}, .methods = {"GET", "POST"}};
  const RawResponse asked = ask(preflight("https://app.example"));
  EXPECT_EQ(asked.status, 200);  // without a key
  EXPECT_EQ(asked.header("access-control-allow-origin"), "https://app.example");
  EXPECT_EQ(asked.header("access-control-allow-methods"), "GET, POST");
  EXPECT_EQ(asked.header("access-control-allow-headers"), "content-type, authorization");
  EXPECT_EQ(asked.header("access-control-allow-credentials"), "");
  EXPECT_EQ(ask(preflight("https://other.example")).status, 400);
  EXPECT_EQ(ask(preflight("https://app.example", "DELETE")).status, 400);
  // Errors too: a page could not read them otherwise.
  const RawResponse refused = ask(get("/v1/models", "Origin: https://app.example\r\n"));
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(refused.header("access-control-allow-origin"), "https://app.example");
  EXPECT_EQ(refused.header("vary"), "Origin");
  EXPECT_EQ(ask(get("/health", "Origin: https://other.example\r\n"))
                .header("access-control-allow-origin"),
            "");
}

TEST(CorsOptions, RefusesWhatNoBrowserSends) {
  EXPECT_NO_THROW((CorsOptions{.origins = {"*"}}.validate()));
  EXPECT_NO_THROW((CorsOptions{.origins = {"null", "http://[::1]:8080", "app://x"}}.validate()));
  for (const char* wrong : {"1", "app.example", "https://", "://a", "https://a/", "https://a b"})
    EXPECT_THROW((CorsOptions{.origins = {wrong}}.validate()), Error) << wrong;
}

TEST_F(AccessTest, ReflectsTheOriginWhereCredentialsGoAlong) {
  options_.cors = {.origins = {"*"}, .allow_credentials = true};
  const RawResponse r = ask(get("/v1/models", "Origin: https://a.example\r\n"));
  EXPECT_EQ(r.header("access-control-allow-origin"), "https://a.example");
  EXPECT_EQ(r.header("access-control-allow-credentials"), "true");
  server_.reset();
  options_.cors.allow_credentials = false;
  EXPECT_EQ(
      ask(get("/v1/models", "Origin: https://a.example\r\n")).header("access-control-allow-origin"),
      "*");
}

TEST_F(AccessTest, ALoopbackServerWithoutKeysAnswersToLocalNamesAlone) {
  options_.allowed_hosts = {"gateway.example"};
  for (const char* host : {"localhost",
                           "LOCALHOST:8000",
                           "127.0.0.1",
                           "127.9.9.9:80",
                           "[::1]:8000",
                           "app.localhost",
                           "gateway.example:8443",
                           "localhost."})
    EXPECT_EQ(ask(hosted(host)).status, 200) << host;
  for (const char* host : {"evil.example",
                           "127.evil.example",
                           "localhost.evil.example",
                           "10.0.0.1",
                           "127.0.0.1.evil.example",
                           "[::2]",
                           "xlocalhost"})
    EXPECT_EQ(ask(hosted(host)).status, 403) << host;
  EXPECT_EQ(ask(hosted("localhost", "Origin: http://localhost:3000\r\n")).status, 200);
  for (const char* origin : {"https://evil.example", "null", "http://127.evil.example"})
    EXPECT_EQ(ask(hosted("localhost", format("Origin: {}\r\n", origin))).status, 403) << origin;
  // Probes may use any name; old clients none.
  EXPECT_EQ(ask("GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n").status, 200);
  EXPECT_EQ(ask("GET /v1/models HTTP/1.0\r\n\r\n").status, 200);
}

TEST_F(AccessTest, WithAKeyAnyNameWillDo) {
  keys_ = ApiKeys(std::vector<std::string>{"secret"});
  EXPECT_EQ(ask(hosted("proxy.example", "Authorization: Bearer secret\r\n")).status, 200);
}

TEST_F(AccessTest, AnyNameCanBeAllowed) {
  options_.allowed_hosts = {"*"};
  EXPECT_EQ(ask(hosted("proxy.example")).status, 200);
}

TEST(TlsOptions, NamesTheFileThatIsWrong) {
  const auto message = [](const TlsOptions& options) -> std::string {
    try {
      options.validate();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message({}), "");
  EXPECT_THAT(message({"", "k.pem", ""}), HasSubstr("--ssl-certfile"));
  EXPECT_THAT(message({"/no/such.pem", "", ""}), HasSubstr("--ssl-certfile /no/such.pem"));
}

}  // namespace
}  // namespace quern
