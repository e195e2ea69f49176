// SPDX-License-Identifier: Apache-2.0
#include "server/connection.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <ctime>
#include <mutex>
#include <random>

#include "base/log.h"
#include "server/peer.h"

namespace quern {
namespace {

constexpr int64_t kFreeBodyBytes = 1 << 20;  // bodies up to this size are always taken
constexpr size_t kReadAheadBytes = 64 << 10;
constexpr int kClientLeft = 499;

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[40];
  std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc);
  return text;
}

// Counts a large body against what the server takes at a time.
class BodyShare {
 public:
  explicit BodyShare(std::atomic<int64_t>& total) : total_(total) {}
  ~BodyShare() { total_ -= bytes_; }
  BodyShare(const BodyShare&) = delete;
  BodyShare& operator=(const BodyShare&) = delete;

  bool take(int64_t bytes, int64_t limit) {
    if (bytes <= kFreeBodyBytes) return true;
    bytes_ = bytes;
    return (total_ += bytes) <= limit;
  }

 private:
  std::atomic<int64_t>& total_;
  int64_t bytes_ = 0;
};

}  // namespace

std::string make_request_id() {
  static std::mutex mutex;
  static std::mt19937_64 random{std::random_device{}() ^ (uint64_t{std::random_device{}()} << 32)};
  const std::lock_guard lock(mutex);
  const uint64_t high = random(), low = random();
  return format("{:016x}{:016x}", high, low);
}

Connection::Connection(ConnectionHost& host, std::shared_ptr<Peer> peer)
    : host_(host), peer_(std::move(peer)) {}

bool Connection::is_open() const {
  return peer_->is_open();
}
std::function<void()> Connection::waker() {
  return peer_->waker();
}

void Connection::start(std::function<void()> on_end) {
  conversation_ = run(std::move(on_end));
  conversation_.start();
}

void Connection::stop(bool now) {
  if (now || is_idle_) peer_->close();
}

Task<> Connection::run(std::function<void()> on_end) {
  try {
    is_idle_ = true;
    const bool is_greeted = co_await peer_->handshake(host_.config.header_timeout_us);
    is_idle_ = false;
    if (is_greeted) {
      while (co_await serve_one()) {
      }
      co_await peer_->close_gently();
    } else {
      peer_->close();
    }
  } catch (const std::exception& e) {
    log(LogLevel::error, "connection failed remote={} error={}", peer_->name(), e.what());
    peer_->close();
  }
  on_end();
}

// One request and its answer; false when the connection should end.
Task<bool> Connection::serve_one() {
  RequestParser parser(host_.config.max_header_bytes, host_.config.max_body_bytes);
  status_ = 0;
  keeps_alive_ = is_streaming_ = has_ended_ = is_delivered_ = false;
  log_note.clear();
  request_ = {};
  request_.id = make_request_id();
  request_.remote = peer_->name();
  if (!co_await read_head(parser)) co_return false;
  HttpResponse refusal;
  BodyShare share(host_.body_bytes_in_flight);
  bool is_welcome = accept_head(parser, refusal);
  if (is_welcome) {
    const int64_t expected = parser.is_chunked()
                                 ? static_cast<int64_t>(host_.config.max_body_bytes)
                                 : static_cast<int64_t>(parser.content_length().value_or(0));
    if (!share.take(expected, host_.config.max_body_bytes_in_flight)) {
      refusal = error_response(503, "too many large requests at a time; try again", "unavailable");
      is_welcome = false;
    }
  }
  if (!is_welcome) {
    co_await refuse(std::move(refusal));
    co_return keeps_alive_ && peer_->is_open() && !host_.is_stopping;
  }
  if (!co_await read_body(parser)) co_return false;
  request_.body = parser.take_body();
  keeps_alive_ = parser.keeps_alive();
  co_await answer();
  co_return keeps_alive_ && peer_->is_open() && !host_.is_stopping;
}

Task<bool> Connection::read_head(RequestParser& parser) {
  if (peer_->buffered().empty()) {
    is_idle_ = true;
    peer_->rest();
    const bool has_bytes = !host_.is_stopping && co_await peer_->fill(host_.config.idle_timeout_us);
    is_idle_ = false;
    if (!has_bytes) co_return false;
  }
  began_us_ = host_.clock.now_us();
  for (;;) {
    peer_->consume(parser.feed(peer_->buffered()));
    if (parser.error()) {
      co_await refuse(*parser.error());
      co_return false;
    }
    if (parser.is_head_done()) co_return true;
    const int64_t left_us = host_.config.header_timeout_us - (host_.clock.now_us() - began_us_);
    if (!co_await peer_->fill(left_us)) {
      if (peer_->has_timed_out())
        co_await refuse(error_response(408, "the request head did not arrive in time", "timeout"));
      co_return false;
    }
  }
}

// Judges a request by its head. False: `refusal` is the answer, and its body is not read.
bool Connection::accept_head(RequestParser& parser, HttpResponse& refusal) {
  HttpRequest head = parser.take_head();
  head.id = std::move(request_.id);
  head.remote = std::move(request_.remote);
  request_ = std::move(head);
  is_chunked_answer_ = parser.is_http_1_1();
  if (const std::string_view id = request_.header("x-request-id"); is_clean_id(id))
    request_.id = std::string(id);
  const auto is_host = [](const auto& header) { return header.first == "host"; };
  const auto hosts = std::count_if(request_.headers.begin(), request_.headers.end(), is_host);
  if (hosts > 1 || (hosts == 0 && parser.is_http_1_1())) {
    refusal = error_response(400, "an HTTP/1.1 request has one Host header", "bad_http_request");
    return false;
  }
  const std::string target = parser.target();
  const auto path = normalize_path(target);
  if (!path) {
    refusal =
        error_response(400, "the request target is not a well-formed path", "bad_http_request");
    return false;
  }
  request_.path = *path;
  request_.query = std::string(query_of(target));
  if (const auto refused = host_.handler.refuse(request_)) {
    refusal = *refused;
    // A well-formed request without a body leaves the connection in step.
    keeps_alive_ = parser.is_done() && parser.keeps_alive();
    return false;
  }
  if (parser.content_length().value_or(0) > host_.config.max_body_bytes) {
    refusal = error_response(413,
                             format("the request body is {} bytes, the limit is {}",
                                    *parser.content_length(),
                                    host_.config.max_body_bytes),
                             "body_too_large");
    return false;
  }
  if (!request_.header("expect").empty() && !parser.expects_continue()) {
    refusal =
        error_response(417, "the only expectation that is met is 100-continue", "bad_http_request");
    return false;
  }
  return true;
}

Task<bool> Connection::read_body(RequestParser& parser) {
  if (parser.expects_continue() && !parser.is_done() && peer_->buffered().empty())
    if (!co_await peer_->write("HTTP/1.1 100 Continue\r\n\r\n", host_.config.write_timeout_us))
      co_return false;
  const int64_t until_us = host_.clock.now_us() + host_.config.body_timeout_us;
  while (!parser.is_done()) {
    const size_t used = parser.feed(peer_->buffered());
    peer_->consume(used);
    if (parser.error()) {
      co_await refuse(*parser.error());
      co_return false;
    }
    if (parser.is_done()) break;
    if (used > 0 && !peer_->buffered().empty()) continue;
    if (!co_await peer_->fill(until_us - host_.clock.now_us())) {
      if (peer_->has_timed_out())
        co_await refuse(error_response(408, "the request body did not arrive in time", "timeout"));
      co_return false;
    }
  }
  co_return true;
}

// Runs the route while watching for the client's leaving.
Task<> Connection::answer() {
  peer_->begin_watch(kReadAheadBytes);
  co_await host_.handler.handle(*this);
  if (!has_begun() && peer_->is_open())
    co_await respond(error_response(500, "the route gave no answer", "internal"));
  const int undelivered = peer_->is_open() ? 500 : kClientLeft;
  if (is_streaming_ && !has_ended_)
    peer_->close();  // broken off: the client must not take it for complete
  co_await peer_->end_watch();
  // A client may leave as soon as it has all: that is no failure.
  const int status = is_delivered_ ? status_ : undelivered;
  host_.handler.finished(request_, status, host_.clock.now_us() - began_us_, log_note);
}

// An answer without a route.
Task<> Connection::refuse(HttpResponse response) {
  const int status = response.status;
  co_await respond(std::move(response));
  host_.handler.finished(request_, status, host_.clock.now_us() - began_us_, log_note);
}

Task<> Connection::wait(int timeout_ms) {
  co_await peer_->wait(int64_t{timeout_ms} * 1000);
}

Task<> Connection::offload(std::function<void()> work) {
  struct Outcome {
    bool is_taken = true;
    std::exception_ptr error;
  };
  auto job = suspend_with<Outcome>([this, &work](auto resume) {
    // `work` lives in this coroutine's frame, which waits for the outcome.
    const auto back = [executor = peer_->executor(), resume](Outcome outcome) {
      boost::asio::post(executor, [resume, outcome = std::move(outcome)]() mutable {
        resume(std::move(outcome));
      });
    };
    const bool is_taken = host_.pool.post([this, &work, back] {
      Outcome outcome;
      try {
        if (!peer_->is_open()) fail(ErrorCode::cancelled, "the client left");
        work();
      } catch (...) {
        outcome.error = std::current_exception();
      }
      back(std::move(outcome));
    });
    if (!is_taken) back({.is_taken = false, .error = nullptr});
  });
  const Outcome outcome = co_await job;
  if (!outcome.is_taken)
    fail(ErrorCode::unavailable, "too many requests are being prepared; try again");
  if (outcome.error) std::rethrow_exception(outcome.error);
}

Task<std::shared_ptr<Peer>> Connection::dial(int port) {
  return peer_->dial(port);
}

std::string Connection::head_of(const HttpResponse& response, std::string_view framing) {
  const bool ends = !keeps_alive_ || host_.is_stopping;
  std::string head = format(
      "HTTP/1.1 {} {}\r\nServer: quern\r\nDate: {}\r\nContent-Type: {}\r\nX-Request-Id: {}\r\n",
      response.status,
      reason_phrase(response.status),
      http_date(),
      response.content_type,
      request_.id);
  for (const auto& [name, value] : response.headers) head += format("{}: {}\r\n", name, value);
  for (const auto& [name, value] : host_.handler.answer_headers(request_))
    head += format("{}: {}\r\n", name, value);
  head += format("{}Connection: {}\r\n\r\n", framing, ends ? "close" : "keep-alive");
  return head;
}

Task<> Connection::respond(HttpResponse response) {
  status_ = response.status;
  has_ended_ = true;
  // Of an answer that stands for what the client has, the length would be that of what it has.
  std::string bytes = head_of(
      response, status_ == 304 ? "" : format("Content-Length: {}\r\n", response.body.size()));
  if (request_.method != "HEAD") bytes += response.body;
  is_delivered_ = co_await peer_->write(bytes, host_.config.write_timeout_us);
}

Task<> Connection::begin_stream(HttpResponse head) {
  status_ = head.status;
  is_streaming_ = true;
  if (!is_chunked_answer_) keeps_alive_ = false;  // HTTP/1.0 ends a stream by closing
  const std::string bytes =
      head_of(head, is_chunked_answer_ ? "Transfer-Encoding: chunked\r\n" : "");
  co_await peer_->write(bytes, host_.config.write_timeout_us);
}

Task<> Connection::write(std::string piece) {
  if (piece.empty()) co_return;  // an empty chunk would end the stream
  if (is_chunked_answer_) piece = format("{:x}\r\n{}\r\n", piece.size(), piece);
  co_await peer_->write(piece, host_.config.write_timeout_us);
}

Task<> Connection::end_stream() {
  has_ended_ = true;
  is_delivered_ = peer_->is_open();
  if (is_chunked_answer_)
    is_delivered_ = co_await peer_->write("0\r\n\r\n", host_.config.write_timeout_us);
}

}  // namespace quern
