// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding. Su et al. 2021.
#pragma once

#include "tensor/ctx.h"

namespace quern::ops {

enum class RopeStyle : uint8_t {
  half_split,   // pairs (d, d + R/2): Llama in Hugging Face layout, Qwen
  interleaved,  // pairs (2d, 2d + 1): GLM-4
  two_angles,   // pairs (d, d + R/2) whose halves turn by angles of their own: no true rotation
};

// Rotates the first R of the E elements of every head, in place. x [T, H, E] float32, its last two
// axes contiguous (x may be a slice of a fused qkv); cos, sin [T, R/2] float32: the angle of each
// pair; with two_angles [T, R]: that of every element.
void rope_(Ctx& ctx, Tensor& x, const Tensor& cos, const Tensor& sin, RopeStyle style);

}  // namespace quern::ops
