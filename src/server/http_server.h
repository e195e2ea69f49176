// SPDX-License-Identifier: Apache-2.0
// HttpServer: listens, keeps connections, stops in good order.
#pragma once

#include <memory>

#include "base/clock.h"
#include "base/error.h"
#include "server/exchange.h"
#include "server/server_config.h"

namespace quern {

// The address to listen on is taken.
class AddressInUse : public Error {
 public:
  explicit AddressInUse(std::string message) : Error(ErrorCode::unavailable, std::move(message)) {}
};

class HttpServer {
 public:
  // `handler` and `clock` must outlive the server.
  HttpServer(ServerConfig config, RequestHandler& handler, const Clock& clock);
  // Stops at once if it still runs.
  ~HttpServer();

  // Binds and listens. Throws AddressInUse; invalid_argument for a host that is no address of this
  // machine.
  void listen();
  int port() const;  // once listening
  // Starts the io threads: from now on requests are answered.
  void start();
  // No new connections; running requests may end within drain_timeout; then all is closed. A second
  // call closes at once. From any thread.
  void stop();
  // Until everything has stopped. The signal that was the reason, 0 if it was stop().
  int wait();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace quern
