// SPDX-License-Identifier: Apache-2.0
// Exchange: one request and its answer, as a route sees them. RequestHandler: what the connections
// hand requests to.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "server/http_types.h"
#include "server/task.h"

namespace quern {

class Peer;  // server/peer.h

// A route is a coroutine over an Exchange. It runs on the connection's strand: its awaits are the
// only places where it is left.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual HttpRequest& request() = 0;
  // False once the client has left; writes then do nothing.
  virtual bool is_open() const = 0;

  // Ends the present or the next wait(). May be called from any thread, also when the exchange is
  // long over.
  virtual std::function<void()> waker() = 0;
  // Until woken, or the client leaves, or (timeout_ms > 0) the time is over.
  virtual Task<> wait(int timeout_ms = 0) = 0;
  // Runs `work` on the preparation pool and rethrows what it throws. Throws unavailable if the
  // pool's queue is full, cancelled if the client left before it began.
  virtual Task<> offload(std::function<void()> work) = 0;

  // A connection of this exchange's own to a port of this machine's loopback; null: nobody there.
  virtual Task<std::shared_ptr<Peer>> dial(int port) = 0;

  // The whole answer.
  virtual Task<> respond(HttpResponse response) = 0;
  // An answer in pieces: head (without body), any number of writes, end. A write returns when the
  // system has taken the bytes.
  virtual Task<> begin_stream(HttpResponse head) = 0;
  virtual Task<> write(std::string piece) = 0;
  virtual Task<> end_stream() = 0;
  virtual bool has_begun() const = 0;  // something was sent

  // For the access log: what the route wants said ("prompt_tokens=12 output_tokens=3").
  std::string log_note;
};

class RequestHandler {
 public:
  virtual ~RequestHandler() = default;
  // Looks at a request whose body has not come yet; an answer here means that the body is not
  // wanted.
  virtual std::unique_ptr<HttpResponse> refuse(const HttpRequest& head) = 0;
  // What every answer to a request carries beside its own headers.
  virtual Headers answer_headers(const HttpRequest&) const { return {}; }
  // Answers. Does not throw.
  virtual Task<> handle(Exchange& exchange) = 0;
  // After the answer, or where there was none (status 499). For log and metrics.
  virtual void finished(const HttpRequest& request,
                        int status,
                        int64_t elapsed_us,
                        const std::string& note) = 0;
};

}  // namespace quern
