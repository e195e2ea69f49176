// SPDX-License-Identifier: Apache-2.0
#include "engine/workforce.h"

#include <utility>

#include "base/log.h"

namespace quern {
namespace {

constexpr size_t kMaxLosses = 3;
constexpr int64_t kLossWindowUs = 60'000'000;
constexpr int kLookMs = 100;  // how long a stop request may wait for a step

}  // namespace

Workforce::Workforce(Engine::ExecutorFactory make, const Clock& clock)
    : make_(std::move(make)), clock_(clock), executor_(make_(epoch_)) {}

bool Workforce::run(StepPlan plan, StepResult& result, const std::atomic<bool>& should_stop) {
  const uint64_t epoch = plan.epoch, step = plan.step;
  executor_->submit(std::move(plan));
  while (!should_stop) {
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

void Workforce::replace(const Error& loss) {
  executor_.reset();
  count_loss(loss);
  while (is_healthy_) {
    ++epoch_;
    try {
      executor_ = make_(epoch_);
      log(LogLevel::warn, "workers replaced epoch={}", epoch_.load());
      return;
    } catch (const Error& e) {
      count_loss(e);
    } catch (const std::exception& e) {
      count_loss(Error(ErrorCode::internal, e.what()));
    }
  }
}

void Workforce::count_loss(const Error& loss) {
  const int64_t now = clock_.now_us();
  losses_us_.push_back(now);
  while (losses_us_.front() < now - kLossWindowUs) losses_us_.pop_front();
  is_healthy_ = losses_us_.size() < kMaxLosses;
  log(LogLevel::error,
      "workers lost epoch={} losses_in_a_minute={} reason=\"{}\"",
      epoch_.load(),
      losses_us_.size(),
      loss.what());
}

}  // namespace quern
