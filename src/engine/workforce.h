// SPDX-License-Identifier: Apache-2.0
// Workforce: the executor at work, and its replacement when it is lost.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "base/clock.h"
#include "base/error.h"
#include "base/function_ref.h"
#include "engine/engine.h"
#include "engine/loss_window.h"

namespace quern {

class Workforce {
 public:
  // Builds the first executor; its error goes to the caller. `on_loss` is called, from any thread,
  // when workers are lost while nobody waits for them.
  Workforce(Engine::ExecutorFactory make, const Clock& clock, std::function<void()> on_loss);

  uint64_t epoch() const { return epoch_; }
  // False after three losses within a minute: nothing is built any more.
  bool is_healthy() const { return is_healthy_; }
  bool is_recovering() const { return is_recovering_; }
  // Fills in what it knows. From any thread.
  void report(EngineStats& stats) const;

  // Throws unavailable if the workers are lost.
  void check() { executor_->check(); }
  // Carries one plan out and waits for it, asking `goes_on` now and then: false if that was false.
  // Throws unavailable if the workers are lost, the Error of the step otherwise, and what `goes_on`
  // throws.
  bool run(StepPlan plan, StepResult& result, FunctionRef<bool()> goes_on);
  bool is_replaceable() const { return executor_->is_replaceable(); }
  // Puts a new executor in the place of a lost one, under the next epoch; tries until that
  // succeeds, or it is not healthy any more, or is to stop.
  void replace(const Error& loss, const std::atomic<bool>& should_stop);

 private:
  void count_loss(const Error& loss);
  void put(std::unique_ptr<Executor> executor);

  Engine::ExecutorFactory make_;
  const Clock& clock_;
  const std::function<void()> on_loss_;
  std::atomic<uint64_t> epoch_ = 1;
  std::atomic<bool> is_healthy_ = true, is_recovering_ = false;
  std::atomic<int64_t> losses_ = 0, recovery_us_ = 0;
  LossWindow recent_losses_;

  mutable std::mutex mutex_;  // both below change under it
  std::string last_loss_;
  std::unique_ptr<Executor> executor_;
};

}  // namespace quern
