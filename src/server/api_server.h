// SPDX-License-Identifier: Apache-2.0
// ApiServer: the OpenAI API over HTTP for one loaded model. All that a command needs of this room.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/service.h"
#include "base/clock.h"
#include "server/api_keys.h"
#include "server/http_server.h"
#include "server/origin_rules.h"
#include "server/server_config.h"

namespace quern {

struct ApiServerOptions {
  std::string version;  // what /version says
  std::optional<uint64_t>
      seed;  // where requests without a seed of their own draw theirs from; none: at random
  bool logs_requests = true;  // one line per request, at level info
  CorsOptions cors;
  // Names beside localhost that a server on a loopback address without keys answers to; "*": all.
  std::vector<std::string> allowed_hosts;
  int max_concurrency_per_key = 0;  // requests that a key may have running; 0: any number
  std::string root_path;            // what a proxy puts in front of every path
  bool serves_ui = true;            // the playground at /
  // The JSON of `quern plan` for the model as it is served, for /v1/engine; may be empty. Called
  // once at most, from a thread that may take its time.
  std::function<std::string()> make_plan;
};

// listen, start, wait; stop from a signal (ServerConfig::handles_signals) or another thread.
class ApiServer {
 public:
  // `service` and `clock` must outlive the server. Throws invalid_argument for a wrong config.
  ApiServer(ServerConfig config,
            Service& service,
            ApiKeys keys,
            const Clock& clock,
            ApiServerOptions options = {});
  // Stops at once if it still runs.
  ~ApiServer();
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  // Binds and listens. Throws AddressInUse if the port is taken, invalid_argument for a host that
  // is no address of this machine.
  void listen();
  int port() const;  // once listening
  // From now on requests are answered.
  void start();
  // No new connections; running requests may end within ServerConfig::drain_timeout_us, then all is
  // closed. A second call closes at once.
  void stop();
  // Until everything has stopped. The signal that was the reason; 0 if it was stop().
  int wait();

  // "POST /v1/chat/completions", …, for the start-up lines.
  std::vector<std::string> routes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace quern
