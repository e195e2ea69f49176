// SPDX-License-Identifier: Apache-2.0
// Metrics: what Prometheus scrapes. The names are vLLM's where there is one (dashboards and
// autoscalers know them), quern's else.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/generation.h"
#include "api/generation_job.h"
#include "api/pooling_job.h"
#include "base/clock.h"
#include "prompt/media_source.h"

namespace quern {

// All functions may be called from several threads at once.
class Metrics {
 public:
  explicit Metrics(const ServiceInfo& info);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // The text of /metrics.
  std::string expose(const EngineStats& stats, const MediaStats& media = {}) const;

  // `handler` is the pattern of the route.
  void count_http(std::string_view handler, std::string_view method, int status, double seconds);
  void count_rejection(std::string_view reason);  // of a full queue

 private:
  friend class GenerationMeter;
  friend class PoolingMeter;
  struct State;
  std::unique_ptr<State> state_;
};

// Measures one generation from the request's arrival to its end.
class GenerationMeter {
 public:
  // Both must outlive the meter.
  GenerationMeter(Metrics& metrics,
                  const Clock& clock,
                  int64_t arrived_us,
                  const GenerationJob& job);
  // Answers that have not ended count as aborted.
  ~GenerationMeter();
  GenerationMeter(const GenerationMeter&) = delete;
  GenerationMeter& operator=(const GenerationMeter&) = delete;

  void count(std::span<const Generation::IndexedDelta> deltas);

 private:
  struct Choice {
    int64_t first_us = 0, last_us = 0;  // of tokens; 0: none yet
    int64_t tokens = 0;
    FinishReason finish = FinishReason::none;
  };

  Metrics& metrics_;
  const Clock& clock_;
  const int64_t arrived_us_;
  std::vector<Choice> choices_;
};

// Measures one request for vectors in the same way: each prompt is an answer of no tokens.
class PoolingMeter {
 public:
  // Both must outlive the meter.
  PoolingMeter(Metrics& metrics, const Clock& clock, int64_t arrived_us, const PoolingJob& job);
  // Prompts that have not ended count as aborted.
  ~PoolingMeter();
  PoolingMeter(const PoolingMeter&) = delete;
  PoolingMeter& operator=(const PoolingMeter&) = delete;

  void count(size_t done) { done_ = done; }

 private:
  Metrics& metrics_;
  const Clock& clock_;
  const int64_t arrived_us_;
  const size_t prompts_;
  size_t done_ = 0;
};

}  // namespace quern
