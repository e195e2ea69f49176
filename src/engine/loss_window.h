// SPDX-License-Identifier: Apache-2.0
// LossWindow: when what is replaced each time it is lost is given up: after three losses within a
// minute.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

namespace quern {

class LossWindow {
 public:
  void add(int64_t now_us) {
    losses_us_.push_back(now_us);
    while (losses_us_.front() < now_us - kWindowUs) losses_us_.pop_front();
  }
  size_t size() const { return losses_us_.size(); }  // within a minute of the last
  bool is_full() const { return size() >= kMost; }

 private:
  static constexpr size_t kMost = 3;
  static constexpr int64_t kWindowUs = 60'000'000;
  std::deque<int64_t> losses_us_;
};

}  // namespace quern
