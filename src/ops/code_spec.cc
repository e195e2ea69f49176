// SPDX-License-Identifier: Apache-2.0
#include "ops/code_spec.h"

#include <algorithm>

#include "base/half.h"
#include "ops/matmul.h"
#include "ops/pack.h"

namespace quern::ops {
namespace {

using cpu::CodeKind;

constexpr int64_t kSharedInputs = 32;  // under one scale of int8 inputs, where groups are smaller

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// The widest group of whole steps that divides a block.
int64_t group_of(int64_t block) {
  for (int64_t group = kMostGroupInputs; group >= cpu::kCodeStep; group -= cpu::kCodeStep)
    if (block % group == 0) return group;
  return 0;
}

bool is_line_dtype(const Tensor& t) {
  if (!t.defined()) return true;
  switch (t.dtype()) {
    case DType::f32:
    case DType::f16:
    case DType::bf16:
    case DType::u8:
    case DType::i8:
      return true;
    default:
      return false;
  }
}

// Kind, shift, centre and values.
bool read_coding(const QuantMatrix& w, CodeSpec& out) {
  if (w.coding == Coding::plain) {
    out.kind = CodeKind::e4m3;
    return w.codes.dtype() == DType::f8_e4m3;
  }
  if (w.code_bits > 8) return false;
  out.kind = w.code_bits <= 4 ? CodeKind::bits4 : CodeKind::bits8;
  if (w.coding == Coding::table) {
    if (out.kind != CodeKind::bits4 || w.table.size() > 16) return false;
    out.is_table = true;
    out.values = w.table;
    out.values.resize(16);
    return true;
  }
  const int32_t middle = out.kind == CodeKind::bits4 ? 8 : 128;
  if (w.codes.dtype() == DType::i8) out.shift = middle;
  out.centre = w.codes.dtype() == DType::i8 || w.offset == Offset::zero_point ? middle : 0;
  if (out.kind == CodeKind::bits4)
    for (int code = 0; code < 16; ++code)
      out.values.push_back(static_cast<float>(code - out.centre));
  return true;
}

bool read_blocks(const QuantMatrix& w, CodeSpec& out) {
  const int64_t whole = ceil_div(w.cols(), cpu::kCodeStep) * cpu::kCodeStep;
  const bool is_one = w.block_cols <= 0 || w.block_cols >= w.cols() || !w.scales.defined();
  const int64_t block = is_one ? std::max<int64_t>(whole, cpu::kCodeStep) : w.block_cols;
  out.group = is_one ? std::min(block, kMostGroupInputs) : group_of(block);
  if (out.group == 0) return false;
  if (kSharedInputs % out.group == 0) out.input_groups = kSharedInputs / out.group;
  out.scale_groups = ceil_div(block, out.group);
  if (!w.super_scales.defined() && !w.super_minimums.defined()) return true;
  const bool is_one_super = w.super_cols <= 0 || w.super_cols >= w.cols();
  out.super_groups = is_one_super ? ceil_div(whole, out.group) : w.super_cols / out.group;
  return is_one_super || w.super_cols % block == 0;
}

// What the tile unit multiplies as bf16 with its scales: 4 bits in groups that share chunks of 128.
bool is_looked_up(const CodeSpec& spec, Activation activation, Isa isa) {
  return isa >= Isa::amx && x_dtype(activation, isa) == DType::bf16 &&
         !(activation == Activation::int8 && spec.takes_int8()) && spec.kind == CodeKind::bits4 &&
         (spec.group == 32 || spec.group == 64 || spec.group == 128);
}

}  // namespace

std::optional<CodeSpec> code_spec(const QuantMatrix& w, Activation activation, Isa isa) {
  CodeSpec out;
  if (!read_coding(w, out) || !read_blocks(w, out)) return std::nullopt;
  out.is_looked_up = is_looked_up(out, activation, isa);
  if (out.is_table && !out.is_looked_up && x_dtype(activation, isa) == DType::bf16)
    for (float& value : out.values) value = bf16_to_float(float_to_bf16(value));
  if (!w.scales.defined() && w.offset != Offset::none) return std::nullopt;
  for (const Tensor* line : {&w.scales, &w.super_scales, &w.minimums, &w.super_minimums})
    if (!is_line_dtype(*line)) return std::nullopt;
  if (w.scales.defined()) out.scale = w.scales.dtype();
  if (w.super_scales.defined()) out.super_scale = w.super_scales.dtype();
  out.offset = w.offset;
  if (w.minimums.defined()) out.minimum = w.minimums.dtype();
  if (w.super_minimums.defined()) out.super_minimum = w.super_minimums.dtype();
  out.column_order = w.column_order;
  return out;
}

}  // namespace quern::ops
