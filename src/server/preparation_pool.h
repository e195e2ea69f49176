// SPDX-License-Identifier: Apache-2.0
// PreparationPool: threads for what would block the io threads: parsing, templates, tokenizing,
// media.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace quern {

class PreparationPool {
 public:
  // At least one thread; at most max_queue jobs wait.
  PreparationPool(int threads, size_t max_queue);
  // Runs what is queued, then ends.
  ~PreparationPool();
  PreparationPool(const PreparationPool&) = delete;
  PreparationPool& operator=(const PreparationPool&) = delete;

  // False if the queue is full; the job is then not taken. Jobs must not throw.
  bool post(std::function<void()> job);
  size_t queued() const;

 private:
  void run();

  const size_t max_queue_;
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::function<void()>> jobs_;
  bool is_ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace quern
