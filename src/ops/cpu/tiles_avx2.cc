// SPDX-License-Identifier: Apache-2.0
// 6 rows x 16 columns in 12 of 16 registers; a panel is done in two halves.
#include "ops/cpu/intrinsics.h"
#include "ops/cpu/kernels.h"

#pragma GCC target("avx2,fma,f16c")

namespace quern::ops::cpu {
namespace {
#include "ops/cpu/simd_avx2.inc"

#include "ops/cpu/tiles.inc"
}  // namespace

const MatmulTiles kTilesAvx2{
    .name = "avx2",
    .rows = 6,
    .f32 = {{tile<F32, 1>, tile<F32, 2>, tile<F32, 3>, tile<F32, 4>, tile<F32, 5>, tile<F32, 6>}},
    .bf16 = {{tile_bf16<1>, tile_bf16<2>, tile_bf16<3>, tile_bf16<4>, tile_bf16<5>, tile_bf16<6>}},
    .f16 = {{tile<F16, 1>, tile<F16, 2>, tile<F16, 3>, tile<F16, 4>, tile<F16, 5>, tile<F16, 6>}},
    .bf16_dot = nullptr,
};

}  // namespace quern::ops::cpu
