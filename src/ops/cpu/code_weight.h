// SPDX-License-Identifier: Apache-2.0
// The packed product over codes. Private to the room; reached through the table in ops/matmul.cc.
#pragma once

#include <memory>
#include <vector>

#include "ops/code_spec.h"
#include "ops/matmul.h"

namespace quern::ops::cpu {

// Parts of one spec, stacked. Throws data_loss for a weight that is not a number.
std::unique_ptr<PackedWeight> pack_codes(const Ctx& ctx,
                                         const std::vector<QuantMatrix>& parts,
                                         const CodeSpec& spec);

}  // namespace quern::ops::cpu
