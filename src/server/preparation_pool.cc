// SPDX-License-Identifier: Apache-2.0
#include "server/preparation_pool.h"

#include <algorithm>

namespace quern {

PreparationPool::PreparationPool(int threads, size_t max_queue) : max_queue_(max_queue) {
  for (int i = 0; i < std::max(threads, 1); ++i) threads_.emplace_back([this] { run(); });
}

PreparationPool::~PreparationPool() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  arrived_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool PreparationPool::post(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    if (is_ending_ || jobs_.size() >= max_queue_) return false;
    jobs_.push_back(std::move(job));
  }
  arrived_.notify_one();
  return true;
}

size_t PreparationPool::queued() const {
  const std::lock_guard lock(mutex_);
  return jobs_.size();
}

void PreparationPool::run() {
  for (;;) {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [this] { return is_ending_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
  }
}

}  // namespace quern
