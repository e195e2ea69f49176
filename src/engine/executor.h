// SPDX-License-Identifier: Apache-2.0
// Executor: carries StepPlans out on all ranks. Asynchronous; at degree 1 its worker is a thread of
// this process.
#pragma once

#include <memory>

#include "engine/step_plan.h"

namespace quern {

class Executor {
 public:
  virtual ~Executor() = default;
  // Hands over one plan; at most one is under way. Throws unavailable if the workers are lost.
  virtual void submit(StepPlan plan) = 0;
  // Waits up to timeout_ms for the result of the plan under way; false on time-out. Throws
  // unavailable if the workers are lost (the engine then builds a new executor), or the Error of a
  // step that failed on healthy workers.
  virtual bool wait(StepResult& result, int timeout_ms) = 0;
};

}  // namespace quern
