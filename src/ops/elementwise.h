// SPDX-License-Identifier: Apache-2.0
// Element by element; float32, contiguous. A trailing _ means in place.
#pragma once

#include <span>
#include <vector>

#include "tensor/ctx.h"

namespace quern::ops {

void add_(Ctx& ctx, Tensor& x, const Tensor& y);  // x += y, same shape
// [T, 2F], gate left and up right -> silu(gate) * up [T, F]; silu(x) = x / (1 + e^-x).
Tensor silu_mul(Ctx& ctx, const Tensor& gate_up);
// The same with gelu_ and gelu_tanh_ of the gate.
Tensor gelu_mul(Ctx& ctx, const Tensor& gate_up);
Tensor gelu_tanh_mul(Ctx& ctx, const Tensor& gate_up);
void silu_(Ctx& ctx, Tensor& x);
void gelu_(Ctx& ctx, Tensor& x);                     // exact: x/2 (1 + erf(x/√2))
void gelu_tanh_(Ctx& ctx, Tensor& x);                // the tanh approximation
void quick_gelu_(Ctx& ctx, Tensor& x);               // x sigmoid(1.702 x)
void mish_(Ctx& ctx, Tensor& x);                     // x tanh(log(1 + e^x)). Misra 2019.
void elu_(Ctx& ctx, Tensor& x);                      // x where it is positive, e^x - 1 elsewhere
void leaky_relu_(Ctx& ctx, Tensor& x, float slope);  // x where it is positive, slope x elsewhere
void scale_(Ctx& ctx, Tensor& x, float factor);
// x + sin²(alpha x) / alpha with an alpha for each column: x [T, C], alpha and inverse (1 / alpha,
// however it is kept from infinity) [C]. Ziyin et al. 2020.
Tensor snake(Ctx& ctx, const Tensor& x, const Tensor& alpha, const Tensor& inverse);

// Row copies: out[i] = x[rows[i]];  x[rows[i]] = source[i]. [*, D], row indices in range.
Tensor gather_rows(Ctx& ctx, const Tensor& x, std::span<const int32_t> rows);
// Column c of the result is column columns[c] of x [T, n], or zero where that is -1.
Tensor gather_columns(Ctx& ctx, const Tensor& x, std::span<const int32_t> columns);
// Weighted sums of rows: row i is the sum over j of weights[i * taps + j] * table[rows[i * taps +
// j]], added in this order. table [N, D] of f32, f16 or bf16 -> [P, D] float32.
struct RowMix {
  int64_t taps = 1;
  std::vector<int32_t> rows;   // [P * taps], in range
  std::vector<float> weights;  // [P * taps]
};
Tensor mix_rows(Ctx& ctx, const Tensor& table, const RowMix& mix);
void copy_rows_(Ctx& ctx, Tensor& x, int64_t first_row, const Tensor& source);

}  // namespace quern::ops
