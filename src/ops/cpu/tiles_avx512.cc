// SPDX-License-Identifier: Apache-2.0
// 12 rows x 32 columns in 24 of 32 registers.
#include "ops/cpu/intrinsics.h"
#include "ops/cpu/kernels.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

namespace quern::ops::cpu {
namespace {
#include "ops/cpu/simd_avx512.inc"

#include "ops/cpu/tiles.inc"

constexpr TileFamily kF32{{tile<F32, 1>, tile<F32, 2>, tile<F32, 3>, tile<F32, 4>, tile<F32, 5>, tile<F32, 6>, tile<F32, 7>,
                           tile<F32, 8>, tile<F32, 9>, tile<F32, 10>, tile<F32, 11>, tile<F32, 12>}};
constexpr TileFamily kF16{{tile<F16, 1>, tile<F16, 2>, tile<F16, 3>, tile<F16, 4>, tile<F16, 5>, tile<F16, 6>, tile<F16, 7>,
                           tile<F16, 8>, tile<F16, 9>, tile<F16, 10>, tile<F16, 11>, tile<F16, 12>}};
constexpr TileFamily kBf16{{tile_bf16<1>, tile_bf16<2>, tile_bf16<3>, tile_bf16<4>, tile_bf16<5>, tile_bf16<6>, tile_bf16<7>,
                            tile_bf16<8>, tile_bf16<9>, tile_bf16<10>, tile_bf16<11>, tile_bf16<12>}};
}  // namespace

const MatmulTiles kTilesAvx512{.name = "avx512", .rows = 12, .f32 = kF32, .bf16 = kBf16, .f16 = kF16, .bf16_dot = nullptr};
const MatmulTiles kTilesAvx512Bf16{
    .name = "avx512_bf16", .rows = 12, .f32 = kF32, .bf16 = kBf16, .f16 = kF16, .bf16_dot = &kDotAvx512Bf16};

}  // namespace quern::ops::cpu
