// SPDX-License-Identifier: Apache-2.0
// What every packing kernel asks of the parts that it stacks. Private to the room.
#pragma once

#include <vector>

#include "tensor/ctx.h"
#include "tensor/quant_matrix.h"

namespace quern::ops {

int64_t stacked_rows(const std::vector<QuantMatrix>& parts);

// How the stacked weight is kept: plain bf16 and f16 as they are; everything else (float32, quantized or mixed parts) as f32
// when activations are float32, so that nothing rounds, and as bf16 otherwise.
DType storage_of(const std::vector<QuantMatrix>& parts, Activation activation);

// The kind that activations are rounded to before the product: f32 (none), bf16 or f16. Throws unsupported for int8.
DType x_dtype(Activation activation);

// Rows [begin, end) of `w` as a matrix of its own that shares storage; `begin` is a multiple of row_step(w).
QuantMatrix slice_rows(const QuantMatrix& w, int64_t begin, int64_t end);
// The rows that one block of scales covers.
int64_t row_step(const QuantMatrix& w);

}  // namespace quern::ops
