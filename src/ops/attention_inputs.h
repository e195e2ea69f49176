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
  const SegmentSight& sight;
  float scale;

  // Rows of the segment [first, end) that row p sees.
  int64_t seen(int64_t p, int64_t first, int64_t end) const {
    return sight.visible.empty() ? end - first : sight.visible[static_cast<size_t>(p)];
  }
};

}  // namespace quern::ops
