// SPDX-License-Identifier: Apache-2.0
#include "engine/local_executor.h"

#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/error.h"

namespace quern {
namespace {

// The step failed here, but the worker lives: never `unavailable`, which would have it replaced.
std::exception_ptr as_failed_step(const std::exception_ptr& thrown) {
  const Error error = step_error(thrown);
  if (error.code() != ErrorCode::unavailable) return std::make_exception_ptr(error);
  return std::make_exception_ptr(Error(ErrorCode::internal, error.what()));
}

class LocalExecutor : public Executor {
 public:
  LocalExecutor(uint64_t epoch, RankParts parts, Probe* probe)
      : epoch_(epoch), runner_(std::move(parts), probe), thread_([this] { serve(); }) {}

  ~LocalExecutor() override {
    {
      const std::lock_guard lock(mutex_);
      is_stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  void submit(StepPlan plan) override {
    QUERN_CHECK(
        plan.epoch == epoch_, "a plan of epoch {} for the worker of epoch {}", plan.epoch, epoch_);
    {
      const std::lock_guard lock(mutex_);
      QUERN_CHECK(!plan_ && !is_busy_ && !result_ && !error_, "a plan is under way");
      plan_ = std::move(plan);
    }
    changed_.notify_all();
  }

  bool wait(StepResult& result, int timeout_ms) override {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(
            lock, std::chrono::milliseconds(timeout_ms), [this] { return result_ || error_; }))
      return false;
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    result = std::move(*result_);
    result_.reset();
    return true;
  }

 private:
  void serve() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return plan_ || is_stopping_; });
      if (is_stopping_) return;
      StepPlan plan = std::move(*plan_);
      plan_.reset();
      is_busy_ = true;
      lock.unlock();
      std::optional<StepResult> result;
      std::exception_ptr error;
      try {
        result = runner_.run(plan);
      } catch (...) {
        error = as_failed_step(std::current_exception());
      }
      lock.lock();
      is_busy_ = false;
      result_ = std::move(result);
      error_ = error;
      changed_.notify_all();
    }
  }

  const uint64_t epoch_;
  StepRunner runner_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<StepPlan> plan_;
  std::optional<StepResult> result_;
  std::exception_ptr error_;
  bool is_busy_ = false, is_stopping_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace

std::unique_ptr<Executor> make_local_executor(uint64_t epoch, RankParts parts, Probe* probe) {
  return std::make_unique<LocalExecutor>(epoch, std::move(parts), probe);
}

}  // namespace quern
