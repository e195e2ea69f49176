// SPDX-License-Identifier: Apache-2.0
// RouteContext: what all routes share.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "api/generation_job.h"
#include "api/response_store.h"
#include "api/service.h"
#include "base/clock.h"
#include "server/metrics.h"
#include "server/router.h"

namespace quern {

// Seeds for requests that name none: a fixed sequence if the operator gave a seed, else nobody's to
// foretell.
class SeedSource {
 public:
  explicit SeedSource(std::optional<uint64_t> seed);
  uint64_t next();

 private:
  std::atomic<uint64_t> state_;
};

// What `quern plan` says of the model as it is served: made when it is first asked for, as building
// the model on a device without bytes takes a moment.
class PlanOnDemand {
 public:
  // `make` returns JSON and may be slow; empty: there is no plan.
  explicit PlanOnDemand(std::function<std::string()> make) : make_(std::move(make)) {}
  bool is_made() const { return is_made_; }
  void make();  // slow the first time; from any thread
  // Empty without a plan. Once it is made.
  const std::string& text() const { return text_; }

 private:
  const std::function<std::string()> make_;
  std::once_flag once_;
  std::atomic<bool> is_made_ = false;
  std::string text_;
};

struct RouteContext {
  Service& service;
  Metrics& metrics;
  const Clock& clock;
  std::string version;
  int64_t sse_keep_alive_us = 0, sse_recovering_us = 0;  // ServerConfig
  SeedSource seeds;
  ResponseStore responses;
  std::atomic<uint64_t> generations =
      0;  // makes the engine's request ids unique, whatever clients choose
  PlanOnDemand plan;
};

// What a job is told of its request.
JobContext job_context(RouteContext& context, const HttpRequest& request);
// The job that `make` makes of the body, which is taken: bodies may be large. Slow.
template <typename Job>
Job make_job(Job (*make)(const Json&, const JobContext&),
             RouteContext& context,
             HttpRequest& request) {
  const std::string body = std::move(request.body);
  return make(parse_json(body, "request body"), job_context(context, request));
}
// Fields that no reader knew and that look like none it knows.
void log_ignored(const std::string& id, const std::vector<std::string>& fields);

// The context must outlive the router.
void add_info_routes(
    Router& router,
    RouteContext& context);  // health, models, version, metrics, tokenize, detokenize
// What the engine does, and who holds which part of the model.
void add_engine_route(Router& router, RouteContext& context);
// Chat completions, completions, responses, messages; each also as …/render.
void add_generation_routes(Router& router, RouteContext& context);
// Embeddings, classes, scores and rankings.
void add_pooling_routes(Router& router, RouteContext& context);
// Transcriptions and translations of recordings.
void add_speech_routes(Router& router, RouteContext& context);
// Texts that are said.
void add_utterance_routes(Router& router, RouteContext& context);
// What is kept of /v1/responses.
void add_response_routes(Router& router, RouteContext& context);

}  // namespace quern
