// SPDX-License-Identifier: Apache-2.0
// Executor: carries StepPlans out on all ranks. Asynchronous; at degree 1 its worker is a thread of
// this process, beyond it is a process per rank.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/step_plan.h"

namespace quern {

// What is known of one worker process.
struct WorkerReport {
  int rank = 0;
  std::string place;         // "127.0.0.1 pid 4711"
  int64_t memory_bytes = 0;  // that the system counts for it now, less what an empty worker takes
  int64_t load_us = 0;       // from when all processes were there until they were ready
};

class Executor {
 public:
  virtual ~Executor() = default;
  // Hands over one plan; at most one is under way. Throws unavailable if the workers are lost.
  virtual void submit(StepPlan plan) = 0;
  // Waits up to timeout_ms for the result of the plan under way; false on time-out. Throws
  // unavailable if the workers are lost (the engine then builds a new executor), or the Error of a
  // step that failed on healthy workers.
  virtual bool wait(StepResult& result, int timeout_ms) = 0;

  // It may be destroyed while a plan is under way, and ends its workers then.
  virtual bool is_replaceable() const { return false; }
  // Throws unavailable if the workers are lost: asked between plans.
  virtual void check() {}
  // To be called, from any thread, as soon as workers are lost.
  virtual void set_on_loss(std::function<void()> /*on_loss*/) {}
  // By rank; empty where there are no processes. From any thread.
  virtual std::vector<WorkerReport> workers() const { return {}; }
};

}  // namespace quern
