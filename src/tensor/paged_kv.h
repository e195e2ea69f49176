// SPDX-License-Identifier: Apache-2.0
// PagedKv: K and V of one layer in blocks. Lies here because `cache` owns the tensors and `ops`
// reads them.
#pragma once

#include "tensor/tensor.h"

namespace quern {

// Both [blocks, G, block_size, E]: float32, f16 or bf16; or codes of 8 bits (int8, e4m3) with one
// float32 scale for each row of E, [blocks, G, block_size], else undefined. A row's scale is its
// own, so that its numbers do not depend on what else a block holds.
struct PagedKv {
  Tensor k, v;
  Tensor k_scale = {}, v_scale = {};
};

}  // namespace quern
