// SPDX-License-Identifier: Apache-2.0
// Routes that answer with vectors, or with what is made of them: prepare the job off the io thread,
// submit its prompts, write one body.
#include <nlohmann/json.hpp>

#include "api/pooling_run.h"
#include "server/route_context.h"

namespace quern {
namespace {

using JobMaker = PoolingJob (*)(const Json&, const JobContext&);

// Until all is there, or the client has left.
Task<> run_all(PoolingRun& run, RouteContext& context, Exchange& exchange) {
  for (;;) {
    try {
      run.poll();
    } catch (const Error& e) {
      if (e.code() == ErrorCode::exhausted) context.metrics.count_rejection("queue_full");
      throw;
    }
    if (run.is_finished() || !exchange.is_open()) co_return;
    co_await exchange.wait();
  }
}

Task<> pool(JobMaker make, RouteContext& context, Exchange& exchange) {
  check_pools(context.service.info());
  const int64_t arrived_us = context.clock.now_us();
  PoolingJob job;
  std::function<void()> work = [&] { job = make_job(make, context, exchange.request()); };
  co_await exchange.offload(std::move(work));
  if (!exchange.is_open()) co_return;
  const std::string& id = exchange.request().id;
  log_ignored(id, job.ignored);
  PoolingRun run(
      context.service, format("{}-{:x}", id, ++context.generations), job, exchange.waker());
  PoolingMeter meter(context.metrics, context.clock, arrived_us, job);
  co_await run_all(run, context, exchange);
  meter.count(run.done());
  if (!run.is_finished()) co_return;
  exchange.log_note = format("prompts={} prompt_tokens={} cached_tokens={}",
                             run.done(),
                             run.usage().prompt_tokens,
                             run.usage().cached_tokens);
  std::string body;
  std::function<void()> write = [&] { body = job.body(run.take(), run.usage()); };
  co_await exchange.offload(std::move(write));
  co_await exchange.respond(json_response(std::move(body)));
}

}  // namespace

void add_pooling_routes(Router& router, RouteContext& context) {
  const auto add = [&](const char* path, JobMaker make) {
    router.add("POST", path, {.takes_json = true}, [&context, make](Exchange& exchange) {
      return pool(make, context, exchange);
    });
  };
  add("/v1/embeddings", embedding_job);
  add("/classify", classify_job);
  for (const char* path : {"/score", "/v1/score"}) add(path, score_job);
  for (const char* path : {"/rerank", "/v1/rerank", "/v2/rerank"}) add(path, rerank_job);
}

}  // namespace quern
