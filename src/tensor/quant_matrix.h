// SPDX-License-Identifier: Apache-2.0
// QuantMatrix: the canonical form of a weight [N, K] (N out, K in) between N checkpoint formats and
// M kernel layouts.
//
//   w[n, k] = scale(n, k) * (value(code[n, c]) - zero(n, k)) + minimum(n, k),   c = the column that
//   holds input k
//
// with one scale (and zero or minimum) per block of `block_rows` x `block_cols`; blocks at the
// edges may be partial.
//   scale(n, k)   = scales[n / block_rows, k / block_cols] * super_scales[n / block_rows, k /
//   super_cols]   (second factor optional) minimum(n, k) = minimums[…] * super_minimums[…]
//   (likewise)
// Scales keep the type they are stored in, may be negative, and are never folded together when that
// would round.
#pragma once

#include <vector>

#include "tensor/tensor.h"

namespace quern {

enum class Coding : uint8_t {
  plain,    // `codes` holds the weights themselves (f32, f16, bf16, f8): no table; scales optional
  integer,  // `codes` is u8 or i8, one code per element, value(code) = code
  table,    // `codes` is u8, value(code) = table[code]: nf4, fp4, e8m0, …
};

enum class Offset : uint8_t { none, zero_point, minimum };

struct QuantMatrix {
  Tensor codes;  // [N, K]
  Coding coding = Coding::plain;
  int code_bits = 8;         // significant bits of a code: kernels may pack tighter
  std::vector<float> table;  // for Coding::table

  int64_t block_rows = 1, block_cols = 0;  // 0: the whole axis
  Tensor
      scales;  // [ceil(N/block_rows), ceil(K/block_cols)], f32, f16, bf16 or integer; undefined: 1
  Tensor super_scales;  // [ceil(N/block_rows), ceil(K/super_cols)] float; undefined: 1
  int64_t super_cols = 0;

  Offset offset = Offset::none;
  Tensor zeros;           // integer [same grid as scales], for zero_point
  Tensor minimums;        // [same grid as scales], for minimum
  Tensor super_minimums;  // [same grid as super_scales], for minimum; undefined: 1

  // Input k is multiplied with column position[k] order: column c of `codes` holds input
  // column_order[c]. Empty: identity. Scale blocks are counted along c.
  std::vector<int32_t> column_order;

  int64_t rows() const { return codes.dim(0); }
  int64_t cols() const { return codes.dim(1); }
  bool is_plain() const { return coding == Coding::plain && !scales.defined(); }
};

// The weights as float32 [N, K] in input order: the definition above, in plain loops. The reference
// of every kernel. On meta: the shape.
Tensor dequantize(const QuantMatrix& w);
// Rows [begin, end) only.
Tensor dequantize_rows(const QuantMatrix& w, int64_t begin, int64_t end);
// Throws internal if parts contradict each other (grid sizes, dtypes, column order not a
// permutation).
void validate(const QuantMatrix& w);

}  // namespace quern
