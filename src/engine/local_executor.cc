// SPDX-License-Identifier: Apache-2.0
#include "engine/local_executor.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>

#include "base/clock.h"
#include "base/error.h"

namespace quern {
namespace {

// Runs plans one after the other on its own thread, and keeps what lies between them: the encoded
// media.
class Worker {
 public:
  Worker(LocalWorker parts, Probe* probe) : parts_(std::move(parts)), probe_(probe) {}

  StepResult run(StepPlan& plan) {
    check(plan.batch);
    const int64_t begin_us = clock_.now_us();
    for (const EncodeTask& task : plan.encode) encode(task);
    const int64_t encode_us = plan.encode.empty() ? 0 : clock_.now_us() - begin_us;
    fill(plan);
    StepResult result{.epoch = plan.epoch,
                      .step = plan.step,
                      .vocab = parts_.model->info().vocab_size,
                      .logits = {},
                      .encode_us = encode_us};
    if (plan.batch.token_count() > 0) forward(plan.batch, result);
    for (const Hash128& hash : plan.release) encoded_.erase(hash);
    return result;
  }

 private:
  // What a kernel could only answer by reading or writing out of bounds.
  void check(const Batch& batch) const {
    const ModelInfo& info = parts_.model->info();
    if (batch.axes != 1 && batch.axes != info.rope_axes)
      fail(ErrorCode::invalid_argument,
           "step: positions of {} axes, the model has {}",
           batch.axes,
           info.rope_axes);
    for (const int32_t token : batch.tokens)
      if (token < 0 || token >= info.vocab_size)
        fail(ErrorCode::invalid_argument,
             "step: token id {}: the vocabulary has 0 to {}",
             token,
             info.vocab_size - 1);
    const int64_t blocks = parts_.kv->num_blocks();
    const auto is_past = [&](int32_t block) { return block >= blocks; };
    if (std::any_of(batch.block_tables.begin(), batch.block_tables.end(), is_past) ||
        std::any_of(batch.slots.begin(),
                    batch.slots.end(),
                    [&](int32_t slot) { return slot / batch.block_size >= blocks; }) ||
        batch.block_size != parts_.kv->block_size())
      fail(ErrorCode::invalid_argument,
           "step: blocks out of bounds: the cache has {} of {} tokens",
           blocks,
           parts_.kv->block_size());
  }

  // The rows outlive the step, so they leave the arena, whose size is that of one step.
  void encode(const EncodeTask& task) {
    const Tensor rows = parts_.model->encode(parts_.ctx, *task.media, probe_);
    const Tensor kept = Tensor::empty(rows.shape(), rows.dtype(), rows.device());
    std::memcpy(kept.raw(), rows.contiguous().raw(), static_cast<size_t>(rows.bytes()));
    encoded_[task.hash] = kept;
  }

  const Tensor& rows_of(const Hash128& hash, int64_t end) const {
    const auto it = encoded_.find(hash);
    if (it == encoded_.end() || it->second.dim(0) < end)
      fail(ErrorCode::internal,
           "step: medium {}: rows up to {} are not encoded here",
           hash.hex(),
           end);
    return it->second;
  }

  void fill(StepPlan& plan) const {
    for (const MediaUse& use : plan.media) {
      const int64_t end = int64_t{use.source_begin} + use.count;
      plan.batch.media.push_back(
          {use.first_row, rows_of(use.hash, end).slice(0, use.source_begin, end)});
    }
    for (const CrossUse& use : plan.cross) {
      const auto it = encoded_.find(use.hash);  // absent once K and V are stored
      plan.batch.encoder.push_back(
          {use.sequence, it != encoded_.end() ? it->second : Tensor(), use.length});
    }
  }

  void forward(const Batch& batch, StepResult& result) {
    const Tensor logits = parts_.model->forward(parts_.ctx, batch, *parts_.kv, probe_);
    if (batch.sample_rows.empty()) return;
    const auto values = logits.contiguous().span<float>();
    result.logits.assign(values.begin(), values.end());
  }

  LocalWorker parts_;
  Probe* probe_;
  MonotonicClock clock_;
  std::unordered_map<Hash128, Tensor> encoded_;
};

// The step failed here, but the worker lives: never `unavailable`, which would have it replaced.
std::exception_ptr as_step_error(std::exception_ptr thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& e) {
    if (e.code() != ErrorCode::unavailable) return thrown;
    return std::make_exception_ptr(Error(ErrorCode::internal, e.what()));
  } catch (const std::bad_alloc&) {
    return std::make_exception_ptr(Error(ErrorCode::exhausted, "step: out of memory"));
  } catch (const std::exception& e) {
    return std::make_exception_ptr(Error(ErrorCode::internal, format("step: {}", e.what())));
  }
}

class LocalExecutor : public Executor {
 public:
  LocalExecutor(uint64_t epoch, LocalWorker worker, Probe* probe)
      : epoch_(epoch), worker_(std::move(worker), probe), thread_([this] { serve(); }) {}

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
        result = worker_.run(plan);
      } catch (...) {
        error = as_step_error(std::current_exception());
      }
      lock.lock();
      is_busy_ = false;
      result_ = std::move(result);
      error_ = error;
      changed_.notify_all();
    }
  }

  const uint64_t epoch_;
  Worker worker_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<StepPlan> plan_;
  std::optional<StepResult> result_;
  std::exception_ptr error_;
  bool is_busy_ = false, is_stopping_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace

std::unique_ptr<Executor> make_local_executor(uint64_t epoch, LocalWorker worker, Probe* probe) {
  QUERN_CHECK(worker.model && worker.kv, "an executor needs a model and its cache");
  return std::make_unique<LocalExecutor>(epoch, std::move(worker), probe);
}

}  // namespace quern
