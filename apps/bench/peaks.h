// SPDX-License-Identifier: Apache-2.0
// Loops that keep an arithmetic unit busy from registers alone.
#pragma once

#include <cstdint>
#include <utility>

#include "base/topology.h"

namespace quern::bench {

struct PeakLoop {
  void (*run)(int64_t steps) = nullptr;  // null: the tier has no such unit
  int64_t ops_per_step = 0;              // multiplications and additions
};

enum class Unit : uint8_t { f32, bf16, int8 };

// The best loop of `unit` on a CPU of tier `isa` (and of the tiers below it).
PeakLoop peak_loop(Isa isa, Unit unit);

}  // namespace quern::bench
