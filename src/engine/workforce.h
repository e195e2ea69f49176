// SPDX-License-Identifier: Apache-2.0
// Workforce: the executor at work, and its replacement when it is lost.
#pragma once

#include <atomic>
#include <deque>
#include <memory>

#include "base/clock.h"
#include "base/error.h"
#include "engine/engine.h"

namespace quern {

class Workforce {
 public:
  // Builds the first executor; its error goes to the caller.
  Workforce(Engine::ExecutorFactory make, const Clock& clock);

  uint64_t epoch() const { return epoch_; }
  // False after three losses within a minute: nothing is built any more.
  bool is_healthy() const { return is_healthy_; }

  // Carries one plan out and waits for it, looking at `should_stop` now and then. False if it did.
  // Throws unavailable if the workers are lost, the Error of the step otherwise.
  bool run(StepPlan plan, StepResult& result, const std::atomic<bool>& should_stop);
  // Puts a new executor in the place of a lost one, under the next epoch.
  void replace(const Error& loss);

 private:
  void count_loss(const Error& loss);

  Engine::ExecutorFactory make_;
  const Clock& clock_;
  std::atomic<uint64_t> epoch_ = 1;
  std::unique_ptr<Executor> executor_;
  std::atomic<bool> is_healthy_ = true;
  std::deque<int64_t> losses_us_;
};

}  // namespace quern
