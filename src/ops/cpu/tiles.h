// SPDX-License-Identifier: Apache-2.0
// The inner kernels of the packed product and the layouts that they read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "tensor/dtype.h"

namespace quern::ops::cpu {

// A weight is packed in panels of kPanel columns of y (rows of W), each panel in k order:
//
//            n = 0   1   2  ...  31                        n = 0    1   ...  31
//     k = 0  [ w   w   w        w ]   f32, f16   k = 0,1   [ w w  w w       w w ]   bf16: two k
//     side by side, k = 1  [ w   w   w        w ]              k = 2,3   [ w w  w w       w w ] as
//     the dot instruction wants them
//
// so that decoding reads each weight byte once, in order, and every column has a lane of its own:
// y[t, n] is a chain of fused multiply-adds over k that no other row or column takes part in.
constexpr int64_t kPanel = 32;
// The chain is cut every kBlock inputs: each block is summed from zero and the block sums are added
// in order. It bounds the rounding error, and keeps a block of x and w in the near caches.
constexpr int64_t kBlock = 512;
// Rows of x lie in memory block by block: row t of block b at (b * rows + t) * stride. The strides
// keep the rows of one tile out of each other's cache sets.
constexpr int64_t kStrideF32 = kBlock + 16, kStrideBf16 = kBlock + 32;

// c [R, kPanel] += x [R, steps] * w [steps, kPanel]; steps counts k (f32, f16) or pairs of k
// (bf16).
using Tile = void (*)(const void* x, const void* w, int64_t steps, float* c);

constexpr int kMostRows = 12;

// tile[r - 1] computes r rows, up to `rows`.
struct TileFamily {
  Tile tile[kMostRows];
};

// For the tile unit x lies in tiles of 16 rows by 32 inputs, one after the other in order of k: a
// block of 16 rows is kTiledRowBytes * 16 bytes.
constexpr int64_t kTileInputs = 32, kTiledRowBytes = kBlock * 2;
// results [rows, kPanel] += x w over `tiles` times 32 inputs, on a thread that has a TileUnit. Up
// to 32 rows of x are read and of results written to where there are more than 16. `next` is what
// will be wanted after w.
using TileUnitProduct = void (*)(const std::byte* x,
                                 int64_t rows,
                                 const std::byte* w,
                                 int64_t tiles,
                                 const std::byte* next,
                                 float* results);

struct MatmulTiles {
  const char* name;
  int rows;                    // the highest tile
  TileFamily f32, bf16, f16;   // by kind of weight; x is float32
  const TileFamily* bf16_dot;  // bf16 weight and bf16 x; null: the tier has no such instruction
  // Makes a panel of 32-bit elements, [size][kPanel], from up to kPanel rows of `size`; absent rows
  // become zero.
  void (*turn)(const void* const* rows, int count, int64_t size, void* panel);
};

}  // namespace quern::ops::cpu
