// SPDX-License-Identifier: Apache-2.0
// Arena: scratch memory of a rank. Tensors taken from it return their bytes when the last reference
// goes.
#pragma once

#include <cstdint>
#include <memory>

#include "tensor/tensor.h"

namespace quern {

// A first-fit allocator over one region. The same sequence of requests lays tensors out the same
// way on every device, so the peak of a run on `meta` is exactly the capacity that a run on the
// real device needs. Thread-safe.
class Arena {
 public:
  // On meta the capacity is unlimited and nothing is allocated.
  explicit Arena(Device device, int64_t capacity_bytes = 0);

  // Uninitialised, 64-byte aligned. A request beyond the capacity is served from the heap and
  // counted in overflow_bytes(), so that a plan that was too small shows without killing the
  // request; throws exhausted when the heap is out as well.
  Tensor empty(const Shape& shape, DType dtype);

  Device device() const;
  int64_t capacity_bytes() const;
  int64_t live_bytes() const;      // in use now
  int64_t peak_bytes() const;      // highest end offset ever used: the capacity this run needed
  int64_t overflow_bytes() const;  // largest sum of heap bytes in use at one time
  void reset_peak();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace quern
