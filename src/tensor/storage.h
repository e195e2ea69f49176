// SPDX-License-Identifier: Apache-2.0
// Where CPU bytes come from. Private to the room.
#pragma once

#include <cstdint>
#include <memory>

#include "tensor/tensor.h"

namespace quern {

constexpr int64_t kAlignment = 64;

inline int64_t align_up(int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Heap storage, or an anonymous mapping that asks for huge pages when it is large. Throws
// exhausted.
std::shared_ptr<Storage> allocate_storage(int64_t bytes, Device device);

}  // namespace quern
