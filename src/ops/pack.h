// SPDX-License-Identifier: Apache-2.0
// What every packing kernel asks of the parts that it stacks. Private to the room.
#pragma once

#include <vector>

#include "tensor/ctx.h"
#include "tensor/quant_matrix.h"

namespace quern::ops {

int64_t stacked_rows(const std::vector<QuantMatrix>& parts);

// How the stacked weight is kept: plain bf16 and f16 as they are; everything else (float32,
// quantized or mixed parts) as f32 when activations are float32, so that nothing rounds, and as
// bf16 otherwise.
DType storage_of(const std::vector<QuantMatrix>& parts, Activation activation);

// The kind that activations are rounded to before a product of floats: f32 (none), bf16 or f16.
// Under int8 it is bf16: weights that are no whole numbers gain nothing from coarser inputs.
DType x_dtype(Activation activation);

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
