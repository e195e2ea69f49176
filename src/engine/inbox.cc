// SPDX-License-Identifier: Apache-2.0
#include "engine/inbox.h"

#include <chrono>
#include <utility>

namespace quern {

void Inbox::submit(Submission submission) {
  const std::lock_guard lock(mutex_);
  posted_.submissions.push_back(std::move(submission));
  is_rung_ = true;
  rung_.notify_one();
}

void Inbox::cancel(std::string id) {
  const std::lock_guard lock(mutex_);
  posted_.cancels.push_back(std::move(id));
  is_rung_ = true;
  rung_.notify_one();
}

void Inbox::stop() {
  const std::lock_guard lock(mutex_);
  posted_.stop = true;
  is_rung_ = true;
  rung_.notify_one();
}

void Inbox::ring() {
  const std::lock_guard lock(mutex_);
  is_rung_ = true;
  rung_.notify_one();
}

Commands Inbox::take(int timeout_ms) {
  std::unique_lock lock(mutex_);
  const auto is_rung = [this] { return is_rung_; };
  if (timeout_ms < 0) rung_.wait(lock, is_rung);
  if (timeout_ms > 0) rung_.wait_for(lock, std::chrono::milliseconds(timeout_ms), is_rung);
  is_rung_ = false;
  Commands commands = std::exchange(posted_, {});
  posted_.stop = commands.stop;
  return commands;
}

}  // namespace quern
