// SPDX-License-Identifier: Apache-2.0
// Connection: the HTTP conversation with one peer: requests one after the other, each handed to the
// RequestHandler.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "base/clock.h"
#include "server/exchange.h"
#include "server/preparation_pool.h"
#include "server/request_parser.h"
#include "server/server_config.h"

namespace quern {

class Peer;  // server/peer.h

// What all connections of a server share. Outlives them.
struct ConnectionHost {
  const ServerConfig& config;
  RequestHandler& handler;
  PreparationPool& pool;
  const Clock& clock;
  std::atomic<bool> is_stopping = false;
  std::atomic<int64_t> body_bytes_in_flight = 0;
};

class Connection final : public Exchange {
 public:
  Connection(ConnectionHost& host, std::shared_ptr<Peer> peer);

  // Starts the conversation; `on_end` is called on the strand when it is over, and the connection
  // may be destroyed after that call has returned to the strand.
  void start(std::function<void()> on_end);
  // Of the strand. Ends an idle connection at once, a busy one after its present answer; `now`: in
  // any case.
  void stop(bool now);
  Peer& peer() { return *peer_; }

  HttpRequest& request() override { return request_; }
  bool is_open() const override;
  std::function<void()> waker() override;
  Task<> wait(int timeout_ms) override;
  Task<> offload(std::function<void()> work) override;
  Task<std::shared_ptr<Peer>> dial(int port) override;
  Task<> respond(HttpResponse response) override;
  Task<> begin_stream(HttpResponse head) override;
  Task<> write(std::string piece) override;
  Task<> end_stream() override;
  bool has_begun() const override { return status_ != 0; }

 private:
  Task<> run(std::function<void()> on_end);
  Task<bool> serve_one();
  Task<bool> read_head(RequestParser& parser);
  Task<bool> read_body(RequestParser& parser);
  Task<> answer();
  Task<> refuse(HttpResponse response);
  bool accept_head(RequestParser& parser, HttpResponse& refusal);
  std::string head_of(const HttpResponse& response, std::string_view framing);

  ConnectionHost& host_;
  std::shared_ptr<Peer> peer_;
  Task<> conversation_;
  HttpRequest request_;
  int64_t began_us_ = 0;
  int status_ = 0;  // of the answer; 0: none yet
  bool is_idle_ = false, keeps_alive_ = false, is_chunked_answer_ = false, is_streaming_ = false,
       has_ended_ = false;
  bool is_delivered_ = false;  // the system has taken all of the answer
};

// A request id: 32 hex digits.
std::string make_request_id();

}  // namespace quern
