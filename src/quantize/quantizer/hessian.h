// SPDX-License-Identifier: Apache-2.0
// The inverse of a Hessian as GPTQ reads it: H^-1 = U' U, U upper triangular. Frantar et al. 2023.
#pragma once

#include <optional>
#include <span>

#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace quern {

// U [K, K] float32, zero below its diagonal, of gram + damping x (mean of its diagonal) x 1. Inputs
// that never occurred stand alone and do not count for the mean: padding changes nothing. The same
// bits for any number of threads. Computed in float64, in place of one matrix of 8 K^2 bytes.
// nullopt where the matrix is not positive definite: damp more.
//
// With J the reversal of indices, J H J = R' R (Cholesky) gives H = M M' with M = J R' J upper, and
// U = M^-1 = J (R^-1)' J: one factorization and one triangular inverse, where factoring the inverse
// itself takes three steps.
std::optional<Tensor> inverse_factor(ThreadPool& pool, const Tensor& gram, double damping);

// The gram matrix with inputs in another order: out[i, j] = gram[order[i], order[j]].
Tensor reordered(const Tensor& gram, std::span<const int32_t> order);

}  // namespace quern
