// SPDX-License-Identifier: Apache-2.0
// PagedKv: K and V of one layer in blocks. Lies here because `cache` owns the tensors and `ops`
// reads them.
#pragma once

#include "tensor/tensor.h"

namespace quern {

// Both [blocks, G, block_size, E], float32 or bf16.
struct PagedKv {
  Tensor k, v;
};

}  // namespace quern
