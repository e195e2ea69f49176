// SPDX-License-Identifier: Apache-2.0
#include "tensor/arena.h"

#include <algorithm>
#include <limits>
#include <map>
#include <mutex>

#include "tensor/storage.h"

namespace quern {

// `holes` maps the offset of each free range to its length. Ranges are kept merged, so first fit is
// a short walk.
struct Arena::State : std::enable_shared_from_this<Arena::State> {
  std::mutex mutex;
  Device device;
  std::shared_ptr<Storage> region;
  int64_t capacity = 0, live = 0, peak = 0, overflow = 0, overflow_peak = 0;
  std::map<int64_t, int64_t> holes;

  // The offset of `bytes` taken from the first hole that is large enough; -1 if none is.
  int64_t take(int64_t bytes) {
    for (auto it = holes.begin(); it != holes.end(); ++it) {
      const auto [offset, length] = *it;
      if (length < bytes) continue;
      holes.erase(it);
      if (length > bytes) holes.emplace(offset + bytes, length - bytes);
      live += bytes;
      peak = std::max(peak, offset + bytes);
      return offset;
    }
    return -1;
  }

  void give_back(int64_t offset, int64_t bytes) {
    const std::lock_guard lock(mutex);
    live -= bytes;
    auto next = holes.lower_bound(offset);
    if (next != holes.end() && offset + bytes == next->first) {
      bytes += next->second;
      next = holes.erase(next);
    }
    if (next != holes.begin()) {
      const auto before = std::prev(next);
      if (before->first + before->second == offset) {
        before->second += bytes;
        return;
      }
    }
    holes.emplace(offset, bytes);
  }

  std::shared_ptr<Storage> spill(int64_t bytes) {
    std::shared_ptr<Storage> heap = allocate_storage(bytes, device);
    overflow += bytes;
    overflow_peak = std::max(overflow_peak, overflow);
    return {heap.get(), [self = shared_from_this(), heap, bytes](Storage*) {
              const std::lock_guard lock(self->mutex);
              self->overflow -= bytes;
            }};
  }
};

Arena::Arena(Device device, int64_t capacity_bytes) : state_(std::make_shared<State>()) {
  state_->device = device;
  state_->capacity =
      device.is_meta() ? std::numeric_limits<int64_t>::max() : align_up(capacity_bytes);
  if (!device.is_meta()) state_->region = allocate_storage(state_->capacity, device);
  if (state_->capacity > 0) state_->holes.emplace(0, state_->capacity);
}

Tensor Arena::empty(const Shape& shape, DType dtype) {
  const int64_t bytes = align_up(std::max<int64_t>(bytes_of(dtype, shape.numel()), 1));
  const std::lock_guard lock(state_->mutex);
  const int64_t offset = state_->take(bytes);
  if (offset < 0) return Tensor::over(state_->spill(bytes), 0, shape, dtype);
  std::byte* data = state_->region ? state_->region->data + offset : nullptr;
  std::shared_ptr<Storage> storage(new Storage{data, bytes, state_->device},
                                   [state = state_, offset](Storage* s) {
                                     state->give_back(offset, s->bytes);
                                     delete s;
                                   });
  return Tensor::over(std::move(storage), 0, shape, dtype);
}

Device Arena::device() const {
  return state_->device;
}
int64_t Arena::capacity_bytes() const {
  return state_->capacity;
}

int64_t Arena::live_bytes() const {
  const std::lock_guard lock(state_->mutex);
  return state_->live;
}

int64_t Arena::peak_bytes() const {
  const std::lock_guard lock(state_->mutex);
  return state_->peak;
}

int64_t Arena::overflow_bytes() const {
  const std::lock_guard lock(state_->mutex);
  return state_->overflow_peak;
}

void Arena::reset_peak() {
  const std::lock_guard lock(state_->mutex);
  state_->peak = state_->holes.empty() ? state_->capacity : 0;
  for (int64_t end = 0; const auto& [offset, length] : state_->holes) {
    if (offset > end) state_->peak = offset;
    end = offset + length;
  }
}

}  // namespace quern
