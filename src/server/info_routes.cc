// SPDX-License-Identifier: Apache-2.0
// Routes that generate nothing.
#include <nlohmann/json.hpp>

#include "api/api_error.h"
#include "api/generation_job.h"
#include "api/responses.h"
#include "base/json.h"
#include "server/openapi.h"
#include "server/route_context.h"

namespace quern {
namespace {

// No key is asked for here: why workers were lost stands in the log alone.
std::string recovering_body(const RouteContext& context) {
  return Json{{"status", "recovering"}, {"epoch", context.service.stats().epoch}}.dump();
}

// 503 only if a restart is the way out: an orchestrator may end a server that says so. While
// workers are being replaced it would lose the streams that are about to go on.
Task<> health(RouteContext& context, Exchange& exchange) {
  if (!context.service.is_healthy())
    co_await exchange.respond(error_response(503, "the engine does not answer", "unavailable"));
  else if (context.service.is_stalled())
    co_await exchange.respond(error_response(
        503,
        format("a step of the engine has not returned for {:.0f} s; requests fail until it does",
               static_cast<double>(context.service.stats().last_step_age_us) * 1e-6),
        "stalled"));
  else if (context.service.is_recovering())
    co_await exchange.respond(json_response(recovering_body(context)));
  else
    co_await exchange.respond(json_response(R"({"status":"ok"})"));
}

// 200 only if a request that came now would be worked on: balancers send them elsewhere otherwise.
Task<> ready(RouteContext& context, Exchange& exchange) {
  if (!context.service.is_healthy() || !context.service.is_recovering()) {
    co_await health(context, exchange);
    co_return;
  }
  HttpResponse response = json_response(recovering_body(context));
  response.status = 503;
  response.headers.emplace_back("Retry-After", "1");
  co_await exchange.respond(std::move(response));
}

Task<> version(RouteContext& context, Exchange& exchange) {
  co_await exchange.respond(json_response(version_response(context.version)));
}

// vLLM's name for the first number.
Task<> load(RouteContext& context, Exchange& exchange) {
  const EngineStats stats = context.service.stats();
  const Json body = {{"server_load", stats.running + stats.waiting},
                     {"running", stats.running},
                     {"waiting", stats.waiting}};
  co_await exchange.respond(json_response(body.dump()));
}

std::string server_info_body(const RouteContext& context) {
  const ServiceInfo& info = context.service.info();
  const EngineStats stats = context.service.stats();
  Json body = {{"version", context.version}, {"models", info.names}, {"root", info.root}};
  body["max_model_len"] = info.max_model_len;
  body["kv_cache"] = {{"block_size", info.block_size},
                      {"blocks", info.num_blocks},
                      {"blocks_used", stats.blocks_used},
                      {"dtype", info.kv_dtype}};
  body["engine"] = {{"steps", stats.steps},
                    {"epoch", stats.epoch},
                    {"preemptions", stats.preemptions},
                    {"workers", stats.workers.size()}};
  return json_text(body);
}

Task<> server_info(RouteContext& context, Exchange& exchange) {
  co_await exchange.respond(json_response(server_info_body(context)));
}

Task<> openapi(RouteContext& context, Exchange& exchange) {
  co_await exchange.respond(json_response(openapi_document(context.version)));
}

Task<> metrics(RouteContext& context, Exchange& exchange) {
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = context.metrics.expose(context.service.stats(), context.service.media_stats());
  co_await exchange.respond(std::move(response));
}

Task<> models(RouteContext& context, Exchange& exchange) {
  co_await exchange.respond(json_response(models_response(context.service)));
}

Task<> model(RouteContext& context, Exchange& exchange) {
  const std::string name = exchange.request().parameters.at(0);
  check_model(context.service.info(), name);
  co_await exchange.respond(json_response(model_response(context.service, name)));
}

Task<> show_tokenizer(RouteContext& context, Exchange& exchange) {
  co_await exchange.respond(json_response(context.service.info().tokenizer_info));
}

std::string tokenize_body(const Service& service, const std::string& body) {
  const TokenizeRequest request = TokenizeRequest::parse(parse_json(body, "request body"));
  check_model(service.info(), request.model);
  const Tokenizer& tokenizer = service.tokenizer();
  const TokenIds ids =
      request.chat
          ? service.prepare(*request.chat)->ids
          : tokenizer.encode(*request.prompt, {.add_special_tokens = request.add_special_tokens});
  return tokenize_response(
      ids, service.info().max_model_len, request.return_token_strs ? &tokenizer : nullptr);
}

std::string detokenize_body(const Service& service, const std::string& body) {
  const DetokenizeRequest request = DetokenizeRequest::parse(parse_json(body, "request body"));
  check_model(service.info(), request.model);
  const int32_t vocab = service.tokenizer().vocab_size();
  for (const int32_t id : request.tokens)
    if (id >= vocab)
      fail_field("tokens", "tokens: token id {} is outside the vocabulary of {}", id, vocab);
  return detokenize_response(service.tokenizer().decode(request.tokens));
}

using BodyMaker = std::string (*)(const Service&, const std::string&);

Task<> answer_with(BodyMaker make, RouteContext& context, Exchange& exchange) {
  std::string body;
  std::function<void()> work = [&] { body = make(context.service, exchange.request().body); };
  co_await exchange.offload(std::move(work));
  co_await exchange.respond(json_response(std::move(body)));
}

}  // namespace

void add_info_routes(Router& router, RouteContext& context) {
  const auto with = [&context](Task<> (*route)(RouteContext&, Exchange&)) {
    return [&context, route](Exchange& exchange) { return route(context, exchange); };
  };
  const auto making = [&context](BodyMaker make) {
    return [&context, make](Exchange& exchange) { return answer_with(make, context, exchange); };
  };
  const RouteOptions open{.needs_key = false};
  const RouteOptions json{.takes_json = true};
  for (const char* path : {"/health", "/ping"}) router.add("GET", path, open, with(health));
  router.add("GET", "/ready", open, with(ready));
  router.add("GET", "/version", open, with(version));
  router.add("GET", "/load", {.scope = Scope::metrics}, with(load));
  router.add("GET", "/server_info", {.scope = Scope::admin}, with(server_info));
  router.add("GET", "/openapi.json", {}, with(openapi));
  router.add("GET", "/metrics", {.scope = Scope::metrics}, with(metrics));
  router.add("GET", "/v1/models", {}, with(models));
  router.add("GET", "/v1/models/{name}*", {}, with(model));
  router.add("POST", "/tokenize", json, making(tokenize_body));
  router.add("POST", "/detokenize", json, making(detokenize_body));
  router.add("GET", "/tokenizer_info", {}, with(show_tokenizer));
}

}  // namespace quern
