// SPDX-License-Identifier: Apache-2.0
// Bell: what a command waits on while the engine works for it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace quern {

// Lets one thread sleep until the engine has news.
class Bell {
 public:
  void ring() {
    const std::lock_guard lock(mutex_);
    has_rung_ = true;
    rung_.notify_one();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    rung_.wait_for(lock, std::chrono::milliseconds(100), [this] { return has_rung_; });
    has_rung_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable rung_;
  bool has_rung_ = false;
};

}  // namespace quern
