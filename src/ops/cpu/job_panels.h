// SPDX-License-Identifier: Apache-2.0
// The panels of a weight that one job takes: some in a row, or as many of gates with their ups,
// which are the second half of a stacked weight.
#pragma once

#include "tensor/shard.h"

namespace quern::ops::cpu {

struct JobPanels {
  Range range;   // of the gates, where they are gated
  int64_t half;  // panels of gates in the weight; 0: nothing is gated
  int64_t each() const { return half > 0 ? 2 : 1; }
  int64_t count() const { return each() * range.size(); }
  // Panel i: a gate, its up, the next gate, ...
  int64_t at(int64_t i) const { return range.begin + i / each() + i % each() * half; }
};

}  // namespace quern::ops::cpu
