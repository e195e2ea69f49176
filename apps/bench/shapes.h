// SPDX-License-Identifier: Apache-2.0
// The matrix products of a decoder, as quern makes them: q, k and v stacked, gate and up stacked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "weights/config.h"

namespace quern::bench {

struct LinearShape {
  std::string name;  // "qkv", "o", "gate_up", "down", "head"
  int64_t n = 0, k = 0;
  int64_t count = 1;  // products of this shape in one step
};

// From a config.json of the Llama and Qwen2 families (its text part, where it has several). Throws
// data_loss naming a missing key.
std::vector<LinearShape> linear_shapes(const Config& config);
// Qwen2-1.5B, which is the text part of Qwen2-VL-2B too.
std::vector<LinearShape> default_shapes();

// Multiplications and additions of one prompt token: all products but the head's.
double prompt_ops(const std::vector<LinearShape>& shapes);

}  // namespace quern::bench
