// SPDX-License-Identifier: Apache-2.0
// GET /v1/engine: what the engine does at this moment, and how the model is dealt out to its ranks.
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "server/route_context.h"

namespace quern {
namespace {

Json workers_json(const EngineStats& stats) {
  Json out = Json::array();
  for (const WorkerReport& worker : stats.workers)
    out.push_back({{"rank", worker.rank},
                   {"memory_bytes", worker.memory_bytes},
                   {"load_seconds", static_cast<double>(worker.load_us) * 1e-6}});
  return out;
}

// Neither where workers run nor why they were lost: that stands in the log.
std::string engine_body(const RouteContext& context) {
  const ServiceInfo& info = context.service.info();
  const EngineStats stats = context.service.stats();
  Json body = {{"version", context.version}, {"models", info.names}};
  body["max_model_len"] = info.max_model_len;
  body["is_healthy"] = context.service.is_healthy();
  body["is_recovering"] = context.service.is_recovering();
  body["is_stalled"] = context.service.is_stalled();
  body["requests"] = {
      {"running", stats.running}, {"waiting", stats.waiting}, {"preempted", stats.swapped}};
  body["kv_cache"] = {{"blocks", info.num_blocks},
                      {"blocks_used", stats.blocks_used},
                      {"block_size", info.block_size},
                      {"dtype", info.kv_dtype}};
  body["prefix_cache"] = {{"queried_tokens", stats.prompt_tokens},
                          {"hit_tokens", stats.cached_tokens}};
  body["tokens"] = {{"prompt", stats.prompt_tokens}, {"generated", stats.generated_tokens}};
  body["engine"] = {{"steps", stats.steps},
                    {"preemptions", stats.preemptions},
                    {"epoch", stats.epoch},
                    {"losses", stats.losses}};
  body["workers"] = workers_json(stats);
  const std::string& plan = context.plan.text();
  body["plan"] = plan.empty() ? Json(nullptr) : parse_json(plan, "plan");
  return json_text(body);
}

Task<> engine(RouteContext& context, Exchange& exchange) {
  if (!context.plan.is_made()) {
    std::function<void()> work = [&] { context.plan.make(); };
    co_await exchange.offload(std::move(work));
  }
  co_await exchange.respond(json_response(engine_body(context)));
}

}  // namespace

void PlanOnDemand::make() {
  std::call_once(once_, [this] {
    if (make_) text_ = make_();
    is_made_ = true;
  });
}

void add_engine_route(Router& router, RouteContext& context) {
  router.add("GET", "/v1/engine", {.scope = Scope::metrics}, [&context](Exchange& exchange) {
    return engine(context, exchange);
  });
}

}  // namespace quern
