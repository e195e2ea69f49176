// SPDX-License-Identifier: Apache-2.0
// 12 rows x 32 columns in 24 of 32 registers.
#include "ops/cpu/intrinsics.h"
#include "ops/cpu/kernels.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

namespace quern::ops::cpu {
namespace {
#include "ops/cpu/simd_avx512.inc"

#include "ops/cpu/math.inc"

#include "ops/cpu/tiles.inc"

#include "ops/cpu/matmul.inc"
}  // namespace

const MatmulTiles kTilesAvx512{.name = "avx512",
                               .rows = Simd::kTileRows,
                               .f32 = kF32,
                               .bf16 = kBf16,
                               .f16 = kF16,
                               .bf16_dot = nullptr,
                               .turn = turn};
const MatmulTiles kTilesAvx512Bf16{.name = "avx512_bf16",
                                   .rows = Simd::kTileRows,
                                   .f32 = kF32,
                                   .bf16 = kBf16,
                                   .f16 = kF16,
                                   .bf16_dot = &kDotAvx512Bf16,
                                   .turn = turn};

}  // namespace quern::ops::cpu
