// SPDX-License-Identifier: Apache-2.0
// How often something is tried again, and how long one waits in between: twice as long each time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

#include "hub/http_client.h"

namespace quern {

struct RetryPolicy {
  int retries = 5;  // in a row, without progress
  int64_t first_pause_ms = 1000;
  int64_t max_pause_ms = 60'000;
  int64_t max_retry_after_s = 300;  // a host that asks for more is given up on
  // Waits; false: do not go on. Tests put another one here.
  std::function<bool(int64_t ms)> pause;
  // Told of each failure that is tried again.
  std::function<void(const Error&, int64_t pause_ms)> on_retry;
};

class Attempts {
 public:
  explicit Attempts(const RetryPolicy& policy) : policy_(policy) {}

  // After a failure: waits and returns, or throws it as it was when there are no tries left.
  void wait_after(const TransientError& failure) {
    if (++failures_ > policy_.retries || failure.retry_after_s() > policy_.max_retry_after_s)
      throw failure;
    const int64_t doubled = policy_.first_pause_ms << std::min(failures_ - 1, 20);
    const int64_t pause_ms = failure.retry_after_s() >= 0
                                 ? std::max(doubled, failure.retry_after_s() * 1000)
                                 : std::min(doubled, policy_.max_pause_ms);
    if (policy_.on_retry) policy_.on_retry(failure, pause_ms);
    if (policy_.pause && !policy_.pause(pause_ms))
      throw Error(ErrorCode::cancelled, "ended before it was done");
  }
  // What came since the last failure was worth it: the tries begin anew.
  void made_progress() { failures_ = 0; }

 private:
  const RetryPolicy& policy_;
  int failures_ = 0;
};

// Runs `body` until it throws no TransientError.
template <typename Body>
auto with_retries(const RetryPolicy& policy, Body&& body) {
  Attempts attempts(policy);
  for (;;) {
    try {
      return body();
    } catch (const TransientError& failure) {
      attempts.wait_after(failure);
    }
  }
}

}  // namespace quern
