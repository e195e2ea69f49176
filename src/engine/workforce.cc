// SPDX-License-Identifier: Apache-2.0
#include "engine/workforce.h"

#include <utility>

#include "base/log.h"

namespace quern {
namespace {

constexpr int kLookMs = 100;  // how long who asks the engine may wait while a step is under way

}  // namespace

Workforce::Workforce(Engine::ExecutorFactory make,
                     const Clock& clock,
                     std::function<void()> on_loss)
    : make_(std::move(make)), clock_(clock), on_loss_(std::move(on_loss)) {
  put(make_(epoch_));
}

void Workforce::put(std::unique_ptr<Executor> executor) {
  if (executor && on_loss_) executor->set_on_loss(on_loss_);
  std::unique_ptr<Executor> old;  // ends outside the lock: its workers take a moment
  {
    const std::lock_guard lock(mutex_);
    old = std::exchange(executor_, std::move(executor));
  }
}

bool Workforce::run(StepPlan plan, StepResult& result, FunctionRef<bool()> goes_on) {
  const uint64_t epoch = plan.epoch, step = plan.step;
  executor_->submit(std::move(plan));
  while (goes_on()) {
    if (!executor_->wait(result, kLookMs)) continue;
    if (result.epoch == epoch && result.step == step) return true;
    log(LogLevel::warn,
        "dropped an answer epoch={} step={} expected_epoch={} expected_step={}",
        result.epoch,
        result.step,
        epoch,
        step);
  }
  return false;
}

void Workforce::replace(const Error& loss, const std::atomic<bool>& should_stop) {
  const int64_t begin_us = clock_.now_us();
  is_recovering_ = true;
  count_loss(loss);
  put(nullptr);
  while (is_healthy_ && !should_stop) {
    ++epoch_;
    try {
      put(make_(epoch_));
      const int64_t took_us = clock_.now_us() - begin_us;
      recovery_us_ += took_us;
      is_recovering_ = false;
      log(LogLevel::warn,
          "workers replaced epoch={} seconds={:.2f}",
          epoch_.load(),
          static_cast<double>(took_us) * 1e-6);
      return;
    } catch (const Error& e) {
      if (!should_stop) count_loss(e);
    } catch (const std::exception& e) {
      count_loss(Error(ErrorCode::internal, e.what()));
    }
  }
  is_recovering_ = false;
}

void Workforce::count_loss(const Error& loss) {
  recent_losses_.add(clock_.now_us());
  is_healthy_ = !recent_losses_.is_full();
  ++losses_;
  {
    const std::lock_guard lock(mutex_);
    last_loss_ = loss.what();
  }
  log(LogLevel::error,
      "workers lost epoch={} losses_in_a_minute={} reason=\"{}\"",
      epoch_.load(),
      recent_losses_.size(),
      loss.what());
}

void Workforce::report(EngineStats& stats) const {
  stats.epoch = epoch_;
  stats.losses = losses_;
  stats.recovery_us = recovery_us_;
  stats.is_recovering = is_recovering_;
  const std::lock_guard lock(mutex_);
  stats.last_loss = last_loss_;
  if (executor_) stats.workers = executor_->workers();
}

}  // namespace quern
