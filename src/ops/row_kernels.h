// SPDX-License-Identifier: Apache-2.0
// The table of the broad ops: one row (or one run of elements) per call, one column of the table
// per instruction-set tier. Private to the room. Results depend on the row alone, never on where in
// memory or in a chunk it stands.
#pragma once

#include <cstdint>

#include "base/topology.h"

namespace quern::ops {

struct NormRow {
  const float* weight;
  const float* bias;  // null: none
  float eps;
  int64_t size;
};

struct RowKernels {
  void (*rms_norm)(const float* x, const NormRow& norm, float* y);
  void (*layer_norm)(const float* x, const NormRow& norm, float* y);
  void (*add)(float* x, const float* y, int64_t n);
  void (*add_scaled)(float* x, const float* y, float scale, int64_t n);  // x += scale y
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* y);
  void (*silu)(float* x, int64_t n);
  void (*gelu)(float* x, int64_t n);
  void (*gelu_tanh)(float* x, int64_t n);
  void (*quick_gelu)(float* x, int64_t n);
  void (*rope_half_split)(float* x, const float* cos, const float* sin, int64_t pairs);
  void (*rope_interleaved)(float* x, const float* cos, const float* sin, int64_t pairs);
  void (*rope_two_angles)(float* x, const float* cos, const float* sin, int64_t pairs);
  void (*widen_bf16)(const uint16_t* x, int64_t n, float* y);
  void (*widen_f16)(const uint16_t* x, int64_t n, float* y);
  void (*narrow_bf16)(const float* x, int64_t n, uint16_t* y);  // nearest, ties to even
  void (*narrow_f16)(const float* x, int64_t n, uint16_t* y);
  void (*widen_i8)(const int8_t* x, float scale, int64_t n, float* y);  // y = x scale, rounded once
  void (*widen_e4m3)(const uint8_t* x, float scale, int64_t n, float* y);
  void (*mish)(float* x, int64_t n);
  void (*elu)(float* x, int64_t n);
  // y = x + bias (null: none). If `is_far`, y goes past the caches where its lines are whole: for
  // results that would not stay there.
  void (*put)(const float* x, const float* bias, int64_t n, float* y, bool is_far);
  // y = x + inverse sin²(alpha x), each element with its own alpha and inverse
  void (*snake)(const float* x, const float* alpha, const float* inverse, int64_t n, float* y);
};

const RowKernels& row_kernels(Isa isa);

// Results of so many bytes are put past the caches; a fence must follow before others read them.
inline constexpr int64_t kFarBytes = int64_t{4} << 20;

}  // namespace quern::ops
