// SPDX-License-Identifier: Apache-2.0
#include "engine/request_book.h"

#include <algorithm>

#include "base/error.h"

namespace quern {

void RequestBook::enter(const std::string& id, int max_queue) {
  const std::lock_guard lock(mutex_);
  if (queued_ >= max_queue)
    fail(ErrorCode::exhausted,
         "engine: {} requests are waiting, the most allowed; try again later",
         queued_);
  if (!is_queued_.emplace(id, true).second)
    fail(ErrorCode::invalid_argument, "engine: request id {} is in use", id);
  ++queued_;
}

void RequestBook::started(const std::string& id) {
  const std::lock_guard lock(mutex_);
  if (const auto it = is_queued_.find(id); it != is_queued_.end()) leave_queue(it->second);
}

void RequestBook::left(const std::string& id, FinishReason reason) {
  const std::lock_guard lock(mutex_);
  ++stats_.requests_finished[static_cast<size_t>(reason)];
  const auto it = is_queued_.find(id);
  if (it == is_queued_.end()) return;
  leave_queue(it->second);
  is_queued_.erase(it);
}

void RequestBook::leave_queue(bool& is_queued) {
  if (is_queued) --queued_;
  is_queued = false;
}

void RequestBook::publish(const EngineStats& stats, bool has_work, int64_t now_us) {
  const std::lock_guard lock(mutex_);
  if (!has_work_ || stats.steps != stats_.steps) last_progress_us_ = now_us;
  has_work_ = has_work;
  EngineStats fresh = stats;
  std::copy_n(
      stats_.requests_finished, std::size(fresh.requests_finished), fresh.requests_finished);
  stats_ = fresh;
}

EngineStats RequestBook::snapshot(int64_t now_us) const {
  const std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.last_step_age_us = has_work_ ? std::max<int64_t>(0, now_us - last_progress_us_) : 0;
  return stats;
}

}  // namespace quern
