// SPDX-License-Identifier: Apache-2.0
// The packed product over codes that are looked up: see table_codes.h. Private to the room; reached
// through the table in ops/matmul.cc.
#pragma once

#include <memory>
#include <vector>

#include "ops/code_spec.h"
#include "ops/matmul.h"

namespace quern::ops::cpu {

// Parts of one spec that is_looked_up, stacked. Throws data_loss for a zero point that is no whole
// number.
std::unique_ptr<PackedWeight> pack_table(const Ctx& ctx,
                                         const std::vector<QuantMatrix>& parts,
                                         const CodeSpec& spec);

}  // namespace quern::ops::cpu
