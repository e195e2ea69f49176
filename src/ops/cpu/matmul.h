// SPDX-License-Identifier: Apache-2.0
// The packed product of the CPU's fast tiers. Private to the room; reached through the table in
// ops/matmul.cc.
#pragma once

#include <memory>
#include <vector>

#include "ops/matmul.h"

namespace quern::ops::cpu {

std::unique_ptr<PackedWeight> pack_weight(const Ctx& ctx,
                                          const std::vector<QuantMatrix>& parts,
                                          DType storage);

}  // namespace quern::ops::cpu
