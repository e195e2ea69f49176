// SPDX-License-Identifier: Apache-2.0
// The checked arguments that attention passes to its implementations. Private to the room.
#pragma once

#include "ops/attention.h"

namespace quern::ops {

struct PagedAttention {
  const PagedBatch& batch;
  float scale;
  int64_t value_size;  // a value is the last so many elements of its row
};

struct SegmentInputs {
  const Tensor &q, &k, &v;
  std::span<const int32_t> segments;
  float scale;
};

}  // namespace quern::ops
