// SPDX-License-Identifier: Apache-2.0
// Normalisation over the last axis. x [T, D] float32 (rows contiguous), weight and bias [D] float32
// -> [T, D].
#pragma once

#include "tensor/ctx.h"

namespace quern::ops {

// x / sqrt(mean(x²) + eps) * weight. Zhang, Sennrich 2019.
Tensor rms_norm(Ctx& ctx, const Tensor& x, const Tensor& weight, float eps);
// Each head on its own, in place: x [T, H, E] float32, its last two axes contiguous (x may be a
// slice of a fused qkv), weight [E].
void rms_norm_heads_(Ctx& ctx, Tensor& x, const Tensor& weight, float eps);
// (x - mean) / sqrt(var + eps) * weight + bias; bias may be undefined.
Tensor layer_norm(Ctx& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias, float eps);

}  // namespace quern::ops
