// SPDX-License-Identifier: Apache-2.0
// What every packing kernel asks of the parts that it stacks. Private to the room.
#pragma once

#include <vector>

#include "tensor/ctx.h"
#include "tensor/quant_matrix.h"

namespace quern::ops {

// Where the tensors of a packed weight lie: nowhere (meta) as long as its parts have no bytes.
inline Device device_for(const Ctx& ctx, const std::vector<QuantMatrix>& parts) {
  return ctx.device.is_meta() ? ctx.device : parts[0].codes.device();
}

int64_t stacked_rows(const std::vector<QuantMatrix>& parts);

// How a stacked weight of floats is kept: bf16 and f16 as they are; everything else (float32, mixed
// parts, what code_spec.h cannot hold) as bf16 where activations are bf16 or f16, and as f32
// otherwise, so that nothing rounds.
DType storage_of(const std::vector<QuantMatrix>& parts, Activation activation);

// The kind that inputs are rounded to before they meet weights of floats: f32 (none), bf16 or f16.
// Under int8, which is for whole numbers, bf16 where the tier multiplies it and none elsewhere.
DType x_dtype(Activation activation, Isa isa);

// Rows of a QuantMatrix as float32 in input order: the values of dequantize_rows, bit for bit, but
// block by block.
class RowDecoder {
 public:
  explicit RowDecoder(const QuantMatrix& w);  // keeps a reference; validates
  void decode(int64_t row, float* out) const;

  // The row as it is stored, if the matrix is nothing but rows of `dtype` in input order; else
  // null.
  const std::byte* stored_row(int64_t row, DType dtype) const;
  int64_t rows() const { return w_.rows(); }

 private:
  void read_codes(int64_t row, float* out) const;
  void apply_blocks(int64_t row, float* values) const;

  const QuantMatrix& w_;
  Tensor scales_, zeros_,
      minimums_;  // [row blocks, column blocks] float32, second level not yet multiplied in
  Tensor super_scales_, super_minimums_;
};

}  // namespace quern::ops
