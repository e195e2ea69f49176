// SPDX-License-Identifier: Apache-2.0
// The roofs of this machine: what memory and the arithmetic units can do, measured by plain loops.
#pragma once

#include "base/json.h"
#include "base/thread_pool.h"
#include "base/topology.h"

namespace quern::bench {

// 1 GOP = 1e9 multiplications or additions. A unit that the tier does not have is 0.
struct Roofs {
  double read_gb_s = 0;
  double f32_gop_s = 0, bf16_gop_s = 0, int8_gop_s = 0;

  // The better of two measurements: a shared machine drifts.
  void raise(const Roofs& other);
  Json to_json() const;
};

// Takes about a second. The loops run in chunks on `pool`, as kernels do.
Roofs measure_roofs(ThreadPool& pool, Isa isa);

}  // namespace quern::bench
