// SPDX-License-Identifier: Apache-2.0
// 6 rows x 16 columns in 12 of 16 registers; a panel is done in two halves.
#include "ops/cpu/intrinsics.h"
#include "ops/cpu/kernels.h"

#pragma GCC target("avx2,fma,f16c")

namespace quern::ops::cpu {
namespace {
#include "ops/cpu/simd_avx2.inc"

#include "ops/cpu/math.inc"

#include "ops/cpu/tiles.inc"

#include "ops/cpu/matmul.inc"
}  // namespace

const MatmulTiles kTilesAvx2{.name = "avx2",
                             .rows = Simd::kTileRows,
                             .f32 = kF32,
                             .bf16 = kBf16,
                             .f16 = kF16,
                             .bf16_dot = nullptr,
                             .turn = turn};

}  // namespace quern::ops::cpu
