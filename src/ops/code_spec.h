// SPDX-License-Identifier: Apache-2.0
// How a quantized matrix is kept compact: as codes of 4 or 8 bits with their scales, never widened.
// Private to the room.
#pragma once

#include <optional>
#include <vector>

#include "ops/cpu/codes.h"
#include "tensor/ctx.h"
#include "tensor/quant_matrix.h"

namespace quern::ops {

struct CodeSpec {
  cpu::CodeKind kind = cpu::CodeKind::bits4;
  int32_t shift = 0;   // what is added to a stored code to make it unsigned
  int32_t centre = 0;  // the unsigned code that means 0, before the offset
  bool is_table = false;
  bool is_looked_up = false;  // multiplied as bf16, scales and all: cpu/table_codes.h
  std::vector<float> values;  // bits4: what each of the 16 codes means

  int64_t group = 0;         // inputs that are summed before a scale of the weight is applied
  int64_t input_groups = 1;  // groups that share a scale of int8 inputs
  int64_t scale_groups = 0;  // groups under one scale
  int64_t super_groups = 0;  // groups under one second-level scale; 0: there is none
  DType scale = DType::f32, super_scale = DType::f32;
  Offset offset = Offset::none;
  DType minimum = DType::f32, super_minimum = DType::f32;
  std::vector<int32_t> column_order;

  bool operator==(const CodeSpec&) const = default;

  bool takes_int8() const { return kind != cpu::CodeKind::e4m3 && !is_table; }
};

// Null where the matrix cannot be kept compact: plain floats of 16 bits and more, tables of more
// than 16 values, blocks whose width is no multiple of 8. A table's values are rounded to bf16
// unless activations are float32 or f16, or the whole weight is.
std::optional<CodeSpec> code_spec(const QuantMatrix& w, Activation activation, Isa isa);

}  // namespace quern::ops
