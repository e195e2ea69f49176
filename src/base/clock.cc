// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <chrono>

namespace quern {

int64_t MonotonicClock::now_us() const {
  using std::chrono::duration_cast, std::chrono::microseconds, std::chrono::steady_clock;
  return duration_cast<microseconds>(steady_clock::now().time_since_epoch()).count();
}

}  // namespace quern
