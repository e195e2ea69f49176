// SPDX-License-Identifier: Apache-2.0
// Random weights in the forms that checkpoints hold.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "tensor/quant_matrix.h"

namespace quern::bench {

struct WeightKind {
  std::string_view name;
  double bits_per_weight;  // as a checkpoint stores it, scales included
  QuantMatrix (*make)(int64_t n, int64_t k);
};

// bf16; int8 and int4 in groups of 128 (GPTQ, AWQ); GGUF's q8_0, q4_0 and q4_k.
std::span<const WeightKind> weight_kinds();
// Throws invalid_argument naming the kinds there are.
const WeightKind& weight_kind(std::string_view name);

}  // namespace quern::bench
