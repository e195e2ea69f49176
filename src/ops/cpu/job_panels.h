// SPDX-License-Identifier: Apache-2.0
// The panels of a weight that one job takes: some in a row, or as many of gates with their ups,
// which are the second half of a stacked weight.
#pragma once

#include <algorithm>

#include "tensor/shard.h"

namespace quern::ops::cpu {

struct JobPanels {
  Range range;   // of the gates, where they are gated
  int64_t half;  // panels of gates in the weight; 0: nothing is gated
  int64_t each() const { return half > 0 ? 2 : 1; }
  int64_t count() const { return each() * range.size(); }
  // Panel i: a gate, its up, the next gate, ...
  int64_t at(int64_t i) const { return range.begin + i / each() + i % each() * half; }
  // A job walks all panels for each block of inputs: what comes after panel i.
  int64_t next(int64_t i) const { return at((i + 1) % count()); }
  bool is_last(int64_t i) const { return i + 1 == count(); }
};

// How many of so many panels (or gates) a job of many rows takes: enough that a block of x serves
// while it is near, few enough to share the jobs out evenly.
inline int64_t panels_of_a_job(int64_t panels, int64_t threads, int64_t most) {
  constexpr int64_t kJobsPerThread = 3;
  return std::clamp<int64_t>(panels / (threads * kJobsPerThread), 1, most);
}

}  // namespace quern::ops::cpu
