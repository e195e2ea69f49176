// SPDX-License-Identifier: Apache-2.0
// Head by head: what latent attention does beside attending.
#pragma once

#include <memory>
#include <span>

#include "ops/matmul.h"

namespace quern::ops {

// y = x, both [T, H, E] float32, their last axes contiguous: either may be a slice of a wider
// tensor.
void copy_heads_(Ctx& ctx, Tensor& y, const Tensor& x);

// A product for each head: y[:, h, :] = x[:, h, :] w[h]ᵀ. x [T, H, K], y [T, H, N] float32, last
// axes contiguous; H weights [N, K]. A row has the bits that matmul() gives it. Heads run side by
// side, each on one thread, whose scratch (a head's inputs) comes from the heap.
void matmul_heads_(Ctx& ctx,
                   const Tensor& x,
                   std::span<const std::unique_ptr<PackedWeight>> weights,
                   Tensor& y);

}  // namespace quern::ops
