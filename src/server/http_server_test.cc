// SPDX-License-Identifier: Apache-2.0
// Connections over loopback: bytes as a good, a bad, a slow and a vanishing client send them.
#include "server/http_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "base/log.h"
#include "server/raw_client.h"

namespace quern {
namespace {

// Answers with what it got; some paths behave in their own way.
class EchoHandler : public RequestHandler {
 public:
  std::unique_ptr<HttpResponse> refuse(const HttpRequest& head) override {
    if (head.path == "/refused")
      return std::make_unique<HttpResponse>(error_response(401, "no", "no"));
    return nullptr;
  }

  Task<> handle(Exchange& exchange) override {
    HttpRequest& request = exchange.request();
    if (request.path == "/wait") {
      is_waiting = true;
      co_await exchange.wait();
      was_open = exchange.is_open();
      co_return;
    }
    if (request.path == "/nothing") co_return;
    if (request.path == "/stream" || request.path == "/broken") {
      HttpResponse head;
      co_await exchange.begin_stream(head);
      for (int i = 0; i < 3; ++i) {
        std::string piece = format("piece {}\n", i);
        co_await exchange.write(std::move(piece));
      }
      if (request.path == "/stream") co_await exchange.end_stream();
      co_return;
    }
    if (request.path == "/flood") {
      HttpResponse head;
      co_await exchange.begin_stream(head);
      while (exchange.is_open()) {
        std::string piece(1 << 20, 'x');
        co_await exchange.write(std::move(piece));
      }
      co_return;
    }
    std::string body =
        format("{} {} {} {}", request.method, request.path, request.query, request.body);
    if (request.path == "/offload") {
      std::function<void()> work = [&] { body = "from the pool"; };
      co_await exchange.offload(std::move(work));
    }
    co_await exchange.respond(json_response(std::move(body)));
  }

  void finished(const HttpRequest&, int status, int64_t, const std::string&) override {
    {
      const std::lock_guard lock(mutex_);
      statuses_.push_back(status);
    }
    changed_.notify_all();
  }

  // The status of the n-th request; -1 if there is none within ten seconds.
  int status_of(size_t n) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return statuses_.size() > n; })
               ? statuses_[n]
               : -1;
  }

  std::atomic<bool> is_waiting = false, was_open = true;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int> statuses_;
};

class HttpServerTest : public testing::Test {
 protected:
  HttpServerTest() {
    set_log_level(LogLevel::off);
    config_.port = 0;
    config_.max_header_bytes = 4096;
    config_.max_body_bytes = 100'000;
  }
  void start() {
    server_ = std::make_unique<HttpServer>(config_, handler_, clock_);
    server_->listen();
    server_->start();
  }
  RawResponse ask(std::string_view bytes) {
    RawClient client(server_->port());
    return client.ask(bytes);
  }

  ServerConfig config_;
  MonotonicClock clock_;
  EchoHandler handler_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, AnswersAndKeepsTheConnection) {
  start();
  RawClient client(server_->port());
  for (int i = 0; i < 3; ++i) {
    const RawResponse r = client.ask(post("/a/../b?q=1", "body"));
    EXPECT_EQ(r.status, 200);
    EXPECT_EQ(r.body, "POST /b q=1 body");
    EXPECT_EQ(r.header("connection"), "keep-alive");
    EXPECT_EQ(r.header("x-request-id").size(), 32u);
  }
  const RawResponse last = client.ask(get("/", "Connection: close\r\nX-Request-Id: mine\r\n"));
  EXPECT_EQ(last.header("connection"), "close");
  EXPECT_EQ(last.header("x-request-id"), "mine");
  EXPECT_EQ(client.read_to_end(), "");
}

TEST_F(HttpServerTest, AnswersPipelinedRequestsInOrder) {
  start();
  RawClient client(server_->port());
  std::string all;
  for (int i = 0; i < 50; ++i) all += post(format("/{}", i), format("b{}", i));
  client.send(all);
  for (int i = 0; i < 50; ++i)
    EXPECT_EQ(client.read_response().body, format("POST /{}  b{}", i, i));
}

TEST_F(HttpServerTest, TakesRequestsInSingleBytes) {
  start();
  RawClient client(server_->port());
  for (const char c : post("/slow", "hello")) client.send(std::string_view(&c, 1));
  EXPECT_EQ(client.read_response().body, "POST /slow  hello");
}

TEST_F(HttpServerTest, TakesChunkedBodies) {
  start();
  const std::string head = "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(ask(head + "5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nTrailer: x\r\n\r\n").body,
            "POST /c  hello world");
  EXPECT_EQ(ask(head + "nonsense\r\n").status, 400);
  EXPECT_EQ(ask(head + "186a1\r\n" + std::string(100'001, 'x') + "\r\n0\r\n\r\n").status, 413);
}

TEST_F(HttpServerTest, RefusesMalformedRequests) {
  start();
  const std::pair<std::string, int> cases[] = {
      {"nonsense\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n\r\n", 400},  // no Host
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
      {"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET /../x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/3.7\r\nHost: a\r\n\r\n", 505},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
       400},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n", 413},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: magic\r\n\r\n", 417},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(5000, 'a') + "\r\n\r\n", 431},
      {"GET /" + std::string(5000, 'a') + " HTTP/1.1\r\n", 431}};
  for (const auto& [bytes, status] : cases) {
    RawClient client(server_->port());
    const RawResponse r = client.ask(bytes);
    EXPECT_EQ(r.status, status) << bytes.substr(0, 100);
    EXPECT_NE(r.body.find("\"error\""), std::string::npos);
    EXPECT_EQ(client.read_to_end(), "") << "closed afterwards";
  }
  EXPECT_EQ(ask(get("/")).status, 200);
}

TEST_F(HttpServerTest, AnswersExpectContinue) {
  start();
  RawClient client(server_->port());
  client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.read_response().status, 100);
  client.send("hi");
  EXPECT_EQ(client.read_response().body, "POST /x  hi");
}

TEST_F(HttpServerTest, HeadHasNoBody) {
  start();
  RawClient client(server_->port());
  client.send("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n");
  const RawResponse r = client.read_response(false);
  EXPECT_EQ(r.status, 200);
  EXPECT_NE(r.header("content-length"), "0");
  EXPECT_EQ(client.ask(get("/y")).body, "GET /y  ");  // the connection is in step
}

TEST_F(HttpServerTest, RefusesByTheHeadAlone) {
  start();
  RawClient client(server_->port());
  EXPECT_EQ(client.ask(get("/refused")).header("connection"), "keep-alive");
  EXPECT_EQ(client.ask(get("/ok")).status, 200);
  // A body that nobody wants is not waited for.
  const RawResponse r =
      client.ask("POST /refused HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n");
  EXPECT_EQ(r.status, 401);
  EXPECT_EQ(r.header("connection"), "close");
}

TEST_F(HttpServerTest, StreamsInChunks) {
  start();
  RawClient client(server_->port());
  EXPECT_EQ(client.ask(get("/stream")).body, "piece 0\npiece 1\npiece 2\n");
  EXPECT_EQ(client.ask(get("/stream")).body, "piece 0\npiece 1\npiece 2\n");  // kept alive
  RawClient old(server_->port());
  old.send("GET /stream HTTP/1.0\r\n\r\n");
  EXPECT_NE(old.read_to_end().find("\r\n\r\npiece 0\npiece 1\npiece 2\n"), std::string::npos);
}

TEST_F(HttpServerTest, ABrokenStreamLooksBroken) {
  start();
  EXPECT_NE(ask(get("/broken")).body.find("<broken off>"), std::string::npos);
  EXPECT_EQ(ask(get("/nothing")).status, 500);
}

TEST_F(HttpServerTest, AClientThatLeavesWithTheWholeAnswerHasGotIt) {
  start();
  for (size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(ask(get(i % 2 ? "/stream" : "/whole")).status, 200);
    EXPECT_EQ(handler_.status_of(i), 200);
  }
}

TEST_F(HttpServerTest, RunsWorkOnThePool) {
  start();
  EXPECT_EQ(ask(get("/offload")).body, "from the pool");
}

TEST_F(HttpServerTest, SeesAVanishedClientAtOnce) {
  start();
  for (const bool with_reset : {false, true}) {
    RawClient client(server_->port());
    client.send(get("/wait"));
    while (!handler_.is_waiting.exchange(false)) std::this_thread::yield();
    with_reset ? client.reset() : client.close();
    EXPECT_EQ(handler_.status_of(with_reset ? 1 : 0), 499);
    EXPECT_FALSE(handler_.was_open);
  }
}

TEST_F(HttpServerTest, SlowHeadsTimeOutAndDoNotBlockOthers) {
  config_.header_timeout_us = 100'000;
  start();
  std::vector<std::unique_ptr<RawClient>> slow;
  for (int i = 0; i < 60; ++i) {
    slow.push_back(std::make_unique<RawClient>(server_->port()));
    slow.back()->send("GET / HTTP/1.1\r\nX: ");
  }
  EXPECT_EQ(ask(get("/ok")).status, 200);
  for (const auto& client : slow) {
    EXPECT_EQ(client->read_response().status, 408);
    EXPECT_EQ(client->read_to_end(), "");
  }
}

TEST_F(HttpServerTest, SlowBodiesAndIdleConnectionsTimeOut) {
  config_.body_timeout_us = config_.idle_timeout_us = 50'000;
  start();
  RawClient body(server_->port()), idle(server_->port());
  EXPECT_EQ(body.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc").status, 408);
  EXPECT_EQ(idle.read_to_end(), "");
}

TEST_F(HttpServerTest, AReaderThatStopsReadingIsDropped) {
  config_.write_timeout_us = 100'000;
  start();
  RawClient client(server_->port(), 4096);
  client.send(get("/flood"));
  EXPECT_EQ(handler_.status_of(0), 499);
}

TEST_F(HttpServerTest, BoundsConnectionsAndLargeBodies) {
  config_.max_connections = 2;
  start();
  RawClient first(server_->port()), second(server_->port());
  EXPECT_EQ(first.ask(get("/")).status + second.ask(get("/")).status, 400);
  RawClient third(server_->port());
  const RawResponse r = third.read_response();
  EXPECT_EQ(r.status, 503);
  EXPECT_NE(r.body.find("too many connections"), std::string::npos);
  EXPECT_EQ(first.ask(get("/")).status, 200);
}

TEST_F(HttpServerTest, LimitsLargeBodiesInFlight) {
  config_.max_body_bytes = 8 << 20;
  config_.max_body_bytes_in_flight = 3 << 20;
  start();
  const std::string head =
      "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2097152\r\nExpect: 100-continue\r\n\r\n";
  RawClient first(server_->port()), second(server_->port());
  EXPECT_EQ(first.ask(head).status, 100);
  const RawResponse refused = second.ask(head);
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.header("retry-after"), "1");
  first.send(std::string(2 << 20, 'x'));
  EXPECT_EQ(first.read_response().status, 200);
}

TEST_F(HttpServerTest, StopsInGoodOrder) {
  start();
  RawClient idle(server_->port()), busy(server_->port());
  EXPECT_EQ(idle.ask(get("/")).status, 200);
  busy.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(busy.read_response().status, 100);
  server_->stop();
  EXPECT_EQ(idle.read_to_end(), "");
  busy.send("hi");
  const RawResponse r = busy.read_response();
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.header("connection"), "close");
  busy.close();
  EXPECT_EQ(server_->wait(), 0);
  EXPECT_FALSE(RawClient(server_->port()).is_connected());
}

TEST_F(HttpServerTest, CutsOffWhatOutlivesTheDrain) {
  config_.drain_timeout_us = 20'000;
  start();
  RawClient client(server_->port());
  client.send(get("/wait"));
  while (!handler_.is_waiting) std::this_thread::yield();
  server_->stop();
  server_->wait();
  EXPECT_EQ(client.read_to_end(), "");
}

TEST_F(HttpServerTest, SaysThatAPortIsTaken) {
  start();
  config_.port = server_->port();
  HttpServer other(config_, handler_, clock_);
  EXPECT_THROW(other.listen(), AddressInUse);
  config_.host = "203.0.113.7";
  EXPECT_THROW(HttpServer(config_, handler_, clock_).listen(), Error);
  config_.port = 70000;
  EXPECT_THROW(HttpServer(config_, handler_, clock_), Error);
}

}  // namespace
}  // namespace quern
