// SPDX-License-Identifier: Apache-2.0
#include <chrono>

#include "engine/request.h"

namespace quern {

bool EventStream::pop(TokenEvent& event, int timeout_ms) {
  std::unique_lock lock(mutex_);
  arrived_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [this] {
    return !events_.empty() || is_closed_;
  });
  return take(lock, event);
}

bool EventStream::try_pop(TokenEvent& event) {
  std::unique_lock lock(mutex_);
  return take(lock, event);
}

bool EventStream::take(std::unique_lock<std::mutex>& lock, TokenEvent& event) {
  if (events_.empty()) return false;
  event = std::move(events_.front());
  events_.pop_front();
  const Callback on_room = events_.size() + 1 == capacity_ ? on_room_ : nullptr;
  lock.unlock();
  if (on_room) (*on_room)();
  return true;
}

bool EventStream::is_finished() const {
  const std::lock_guard lock(mutex_);
  return is_closed_ && events_.empty();
}

size_t EventStream::waiting() const {
  const std::lock_guard lock(mutex_);
  return events_.size();
}

void EventStream::set_notify(std::function<void()> notify) {
  const std::lock_guard lock(mutex_);
  notify_ = notify ? std::make_shared<const std::function<void()>>(std::move(notify)) : nullptr;
}

void EventStream::set_on_room(std::function<void()> on_room) {
  const std::lock_guard lock(mutex_);
  on_room_ = std::make_shared<const std::function<void()>>(std::move(on_room));
}

bool EventStream::has_room() const {
  const std::lock_guard lock(mutex_);
  return events_.size() < capacity_;
}

void EventStream::push(TokenEvent event) {
  Callback notify;
  {
    const std::lock_guard lock(mutex_);
    if (is_closed_) return;
    events_.push_back(std::move(event));
    notify = notify_;
  }
  arrived_.notify_all();
  if (notify) (*notify)();
}

void EventStream::close() {
  Callback notify;
  {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    notify = notify_;
  }
  arrived_.notify_all();
  if (notify) (*notify)();
}

}  // namespace quern
