// SPDX-License-Identifier: Apache-2.0
#include "nn/expert_memory.h"

#include <algorithm>
#include <chrono>

namespace quern {
namespace {

int64_t bytes_of(const Linear& linear) {
  return linear.weight() != nullptr ? linear.weight()->bytes() : 0;
}

}  // namespace

int64_t Expert::bytes() const {
  return bytes_of(gate_up) + bytes_of(down);
}

void ExpertMemory::shrink_to(int64_t bytes) {
  while (held_bytes_ > std::max<int64_t>(bytes, 0) && !order_.empty()) {
    const auto oldest = held_.find(order_.front());
    held_bytes_ -= oldest->second.expert->bytes();
    held_.erase(oldest);
    order_.pop_front();
  }
}

std::shared_ptr<const Expert> ExpertMemory::take(Key key,
                                                 int64_t bytes,
                                                 FunctionRef<Expert()> load) {
  if (const auto found = held_.find(key); found != held_.end()) {
    order_.splice(order_.end(), order_, found->second.place);
    return found->second.expert;
  }
  using Clock = std::chrono::steady_clock;
  shrink_to(most_bytes_ - bytes);
  const Clock::time_point begin = Clock::now();
  auto made = std::make_shared<const Expert>(load());
  loads_.seconds += std::chrono::duration<double>(Clock::now() - begin).count();
  loads_.bytes += made->bytes();
  ++loads_.count;
  shrink_to(most_bytes_ - made->bytes());
  if (made->bytes() > most_bytes_) return made;
  held_bytes_ += made->bytes();
  held_[key] = {made, order_.insert(order_.end(), key)};
  return made;
}

}  // namespace quern
