// SPDX-License-Identifier: Apache-2.0
// What each instruction-set file of this folder offers. Private to the room; chosen by the tables
// in ops/.
#pragma once

#include "ops/cpu/tiles.h"
#include "ops/row_kernels.h"

namespace quern::ops::cpu {

extern const RowKernels kRowsAvx2, kRowsAvx512;
extern const TileFamily kDotAvx512Bf16;
extern const MatmulTiles kTilesAvx2, kTilesAvx512, kTilesAvx512Bf16;
extern const TileUnitProduct kBf16TileUnit;

}  // namespace quern::ops::cpu
