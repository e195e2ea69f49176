// SPDX-License-Identifier: Apache-2.0
#include "server/api_server.h"

#include "server/api_handler.h"
#include "server/route_context.h"
#include "server/ui.h"

namespace quern {

namespace {

// Where nothing but the address keeps others out, web pages on this machine are others too.
Access access_of(const ServerConfig& config, ApiKeys keys, ApiServerOptions& options) {
  const bool guards_hosts = !keys.is_required() && is_loopback_host(host_name_of(config.host));
  return {.keys = std::move(keys),
          .origins =
              OriginRules(std::move(options.cors), guards_hosts, std::move(options.allowed_hosts)),
          .max_concurrency_per_key = options.max_concurrency_per_key};
}

}  // namespace

struct ApiServer::State {
  State(ServerConfig config,
        Service& service,
        ApiKeys keys,
        const Clock& clock,
        ApiServerOptions options)
      : metrics(service.info()),
        context{.service = service,
                .metrics = metrics,
                .clock = clock,
                .version = std::move(options.version),
                .sse_keep_alive_us = config.sse_keep_alive_us,
                .sse_recovering_us = config.sse_recovering_us,
                .seeds = SeedSource(options.seed),
                .responses =
                    ResponseStore(config.max_stored_responses, config.max_stored_response_bytes),
                .plan = PlanOnDemand(std::move(options.make_plan))},
        handler(
            router, access_of(config, std::move(keys), options), metrics, options.logs_requests),
        server(std::move(config), handler, clock) {
    router.set_root_path(std::move(options.root_path));
    if (options.serves_ui) add_ui_routes(router);
    add_info_routes(router, context);
    add_engine_route(router, context);
    add_generation_routes(router, context);
    add_pooling_routes(router, context);
    add_response_routes(router, context);
    add_speech_routes(router, context);
    add_utterance_routes(router, context);
  }

  Metrics metrics;
  RouteContext context;
  Router router;
  ApiHandler handler;
  HttpServer server;
};

ApiServer::ApiServer(ServerConfig config,
                     Service& service,
                     ApiKeys keys,
                     const Clock& clock,
                     ApiServerOptions options)
    : state_(std::make_unique<State>(
          std::move(config), service, std::move(keys), clock, std::move(options))) {}
ApiServer::~ApiServer() = default;

void ApiServer::listen() {
  state_->server.listen();
}
int ApiServer::port() const {
  return state_->server.port();
}
void ApiServer::start() {
  state_->server.start();
}
void ApiServer::stop() {
  state_->server.stop();
}
int ApiServer::wait() {
  return state_->server.wait();
}

std::vector<std::string> ApiServer::routes() const {
  std::vector<std::string> out;
  for (const Router::Entry& entry : state_->router.entries())
    out.push_back(entry.method + " " + entry.pattern);
  return out;
}

}  // namespace quern
