// SPDX-License-Identifier: Apache-2.0
// Time is passed in, never read in passing, so that tests own it.
#pragma once

#include <cstdint>

namespace quern {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t now_us() const = 0;  // microseconds since an arbitrary start, never falling
};

// The operating system's monotonic clock.
class MonotonicClock : public Clock {
 public:
  int64_t now_us() const override;
};

// A clock that stands still until a test moves it.
class ManualClock : public Clock {
 public:
  int64_t now_us() const override { return now_us_; }
  void advance_us(int64_t us) { now_us_ += us; }

 private:
  int64_t now_us_ = 0;
};

}  // namespace quern
