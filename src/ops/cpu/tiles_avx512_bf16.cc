// SPDX-License-Identifier: Apache-2.0
#include "ops/cpu/intrinsics.h"
#include "ops/cpu/kernels.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")

namespace quern::ops::cpu {
namespace {
#include "ops/cpu/dot.inc"
}  // namespace

const TileFamily kDotAvx512Bf16 = dot_family<kStrideBf16, kPanel>(kDotHeights);

}  // namespace quern::ops::cpu
