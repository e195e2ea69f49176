// SPDX-License-Identifier: Apache-2.0
// Rows of K and V as a cache keeps them. Private to the room.
#pragma once

#include "ops/row_kernels.h"
#include "tensor/paged_kv.h"

namespace quern::ops {

inline bool is_coded(const PagedKv& kv) {
  return kv.k_scale.defined();
}

// The index among [blocks, G, block_size] of the row of `head` in `slot` (block * block_size +
// offset).
inline int64_t kv_row(const Tensor& cache, int64_t slot, int64_t head) {
  const int64_t block_size = cache.dim(2);
  return (slot / block_size * cache.dim(1) + head) * block_size + slot % block_size;
}

// Writes x [E] as row `row` of `cache`, rounded to nearest. Codes of 8 bits: the scale makes the
// largest element the largest code. A row that holds a NaN or an infinity reads as NaN everywhere,
// so that what computed it is found out (numeric_error).
void store_kv_row(const RowKernels& kernels,
                  const float* x,
                  const Tensor& cache,
                  const Tensor& scales,
                  int64_t row);

// Reads it: y [E]. Codes only.
void load_kv_row(
    const RowKernels& kernels, const Tensor& cache, const Tensor& scales, int64_t row, float* y);

}  // namespace quern::ops
