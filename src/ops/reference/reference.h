// SPDX-License-Identifier: Apache-2.0
// Plain loops: the meaning of every op, and what Isa::scalar runs. Sums are taken in double, so
// that the distance of a fast kernel from these is the fast kernel's own rounding.
#pragma once

#include "ops/attention_inputs.h"
#include "ops/code_spec.h"
#include "ops/matmul.h"
#include "ops/row_kernels.h"
#include "tensor/quant_matrix.h"

namespace quern::ops::reference {

const RowKernels& row_kernels();

// The weights kept as float32 [N, K]: exact codes with `spec`, else rounded to storage_of the
// parts.
std::unique_ptr<PackedWeight> pack_weight(const Ctx& ctx,
                                          const std::vector<QuantMatrix>& parts,
                                          const std::optional<CodeSpec>& spec);

// What ops/attention.h says; out [T, H * in.value_size]. Latent rows too, as keys and values.
void paged_attention(
    Ctx& ctx, const Tensor& q, const PagedKv& kv, const PagedAttention& in, const Tensor& out);
void segment_attention(Ctx& ctx, const SegmentInputs& in, const Tensor& out);

}  // namespace quern::ops::reference
