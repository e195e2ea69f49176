// SPDX-License-Identifier: Apache-2.0
// Normalisation over the last axis. x [T, D] float32 (rows contiguous), weight and bias [D] float32
// -> [T, D].
#pragma once

#include <span>

#include "tensor/ctx.h"

namespace quern::ops {

// x / sqrt(mean(x²) + eps) * weight. Zhang, Sennrich 2019.
Tensor rms_norm(Ctx& ctx, const Tensor& x, const Tensor& weight, float eps);
// Each head on its own, in place: x [T, H, E] float32, its last two axes contiguous (x may be a
// slice of a fused qkv), weight [E].
void rms_norm_heads_(Ctx& ctx, Tensor& x, const Tensor& weight, float eps);
// (x - mean) / sqrt(var + eps) * weight + bias; bias may be undefined.
Tensor layer_norm(Ctx& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias, float eps);
// Global response normalisation, in place: gamma (x n) + beta + x, where n = g / (mean of g over
// the columns + eps) and g is the norm of a column over all T rows. x contiguous; gamma, beta [D].
// Woo et al. 2023. A column's sum runs over the rows in order, in double.
void response_norm_(Ctx& ctx, Tensor& x, const Tensor& gamma, const Tensor& beta, float eps);

// What a conditioned layer does to the rows of each segment: a shift, a scale or a gate of its own
// for each column. Peebles, Xie 2022 (adaLN).
//
// layer_norm without weights, times 1 + scale, plus shift: x [T, D]; shift, scale [S, D], rows
// contiguous; segment i are the rows [segments[i], segments[i + 1]) -> [T, D].
struct RowModulation {
  Tensor shift, scale;
  std::span<const int32_t> segments;  // [S + 1]
};
Tensor modulated_norm(Ctx& ctx, const Tensor& x, const RowModulation& modulation, float eps);
// x += gate y, gate [S, D]; x, y [T, D] contiguous.
void add_gated_(
    Ctx& ctx, Tensor& x, const Tensor& y, const Tensor& gate, std::span<const int32_t> segments);

}  // namespace quern::ops
