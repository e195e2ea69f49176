// SPDX-License-Identifier: Apache-2.0
#include <type_traits>

#include "ops/cpu/attention.h"
#include "ops/cpu/intrinsics.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

namespace quern::ops::cpu {
namespace {
#include "ops/cpu/simd_avx512.inc"

#include "ops/cpu/math.inc"

#include "ops/cpu/softmax.inc"

#include "ops/cpu/attention.inc"
}  // namespace

const AttentionKernels kAttentionAvx512 = kKernels<F32>;
const AttentionKernels kWideAttentionAvx512 = kKernels<Wide<F32>>;

}  // namespace quern::ops::cpu
