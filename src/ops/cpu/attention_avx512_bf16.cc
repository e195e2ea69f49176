// SPDX-License-Identifier: Apache-2.0
// Attention with q, k, v and p rounded to bf16 and multiplied in pairs by VDPBF16PS: pairs of e for
// q k, pairs of keys for p v. Softmax and all sums stay float32.
#include <type_traits>

#include "ops/cpu/attention.h"
#include "ops/cpu/intrinsics.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")

namespace quern::ops::cpu {
namespace {
#include "ops/cpu/simd_avx512.inc"

#include "ops/cpu/math.inc"

#include "ops/cpu/softmax.inc"

#include "ops/cpu/attention_dot.inc"

#include "ops/cpu/attention.inc"
}  // namespace

const AttentionKernels kAttentionAvx512Bf16 = kKernels<Dot>;
const AttentionKernels kWideAttentionAvx512Bf16 = kKernels<Wide<Dot>>;

}  // namespace quern::ops::cpu
