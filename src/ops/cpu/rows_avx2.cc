// SPDX-License-Identifier: Apache-2.0
#include "ops/cpu/intrinsics.h"
#include "ops/cpu/kernels.h"

#pragma GCC target("avx2,fma,f16c")

namespace quern::ops::cpu {
namespace {
#include "ops/cpu/simd_avx2.inc"

#include "ops/cpu/math.inc"

#include "ops/cpu/rows.inc"
}  // namespace

const RowKernels kRowsAvx2 = kRows;

}  // namespace quern::ops::cpu
