// SPDX-License-Identifier: Apache-2.0
// The inner kernels of the product over quantized codes, and the layouts that they read.
//
// W is packed in panels of 64 columns of y (rows of W). A step is 8 inputs k of all 64 columns, one
// 32-bit lane a column:
//
//   4 bits: 64 lanes, 256 bytes               8 bits: 2 x 64 lanes, 512 bytes
//     lane n = [k0 k4 | k1 k5 | k2 k6 | k3 k7]   lane n = [k0 | k1 | k2 | k3], then
//     low nibble first in each byte              lane n = [k4 | k5 | k6 | k7]
//
// Masking a 4-bit lane gives four bytes k0..k3, masking it after a shift k4..k7: what the integer
// dot instructions take. A table look-up of its 16-bit words gives the pairs (k0, k2), (k1, k3),
// (k4, k6), (k5, k7) that the bf16 dot takes. An 8-bit lane has the same orders.
//
// Inputs are taken in groups (8 to 128 of them, never across a scale of the weight). Within a group
// codes are multiplied as they are; the group's sum D is then scaled and offset. Up to 128 inputs
// share one scale of their own, s_x; of the groups g among them
//
//   y[t, n] += s_x[t]  sum over g of  scale[n, g] D[t, n, g] + sum_x[t, g] offset[n, g]
//
// in order of g. D is an exact integer with int8 inputs, and a chain of multiply-adds in order of k
// otherwise: neither depends on which rows or columns are computed beside it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace quern::ops::cpu {

constexpr int64_t kCodePanel = 64;  // columns
constexpr int64_t kCodeStep = 8;    // inputs
constexpr int64_t kCodeBlock =
    512;  // inputs of x and w that are walked before the next rows: near cache
constexpr int64_t kMostGroups = kCodeBlock / kCodeStep;  // in a block

enum class CodeKind : uint8_t {
  bits4,  // a table of 16 values
  bits8,  // whole numbers 0..255
  e4m3,   // floats of 8 bits
};
enum class CodeMode : uint8_t { int8, bf16_dot, f32 };

// Of one row of x in one group. `sum` is that of its elements as they are laid out. `start` is
// where an integer sum begins: it moves the codes' centre to 0. `scale` is s_x, 1 but for int8, and
// comes in with the last group that shares it.
struct CodeGroup {
  float scale, sum;
  int32_t start, is_last;
};

// Rows of x in one block, kRowBytes<Element> apart. Elements are i8 or f32 in order of k, or bf16
// with the middle two of each four exchanged. The rows of a tile stay out of each other's cache
// sets.
template <typename Element>
constexpr int64_t kRowBytes = kCodeBlock* static_cast<int64_t>(sizeof(Element)) + 64;

struct CodeRows {
  const std::byte* data;
  const CodeGroup* groups;
  int64_t group_stride;  // from row to row
};

// For the tile unit a block of x is cut into tiles of 16 rows by up to 64 bytes, one after the
// other in order of k, and 16 rows after 16 rows: the nearest cache fetches ahead what is read in
// order. Results of up to 16 rows are [16][kCodePanel]; of more, 32 by 32 each: [rows /
// 32][2][32][32].
struct TiledRows {
  const std::byte*
      data;  // of row 0; up to 32 rows are read where there are more than 16, used or not
  const float *scales, *sums;  // s_x and sum_x of row 0 in the first group of the block; likewise
  int64_t group_stride;        // from group to group
};
// How many of a group's steps a tile takes: as many as fit its rows of 64 bytes and divide the
// group.
constexpr int64_t steps_in_tile(int64_t steps, int64_t element) {
  int64_t most = 64 / (kCodeStep * element);
  while (steps % most != 0) --most;
  return most;
}
// Where column n of row r lies among the results of so many rows; kTiledLine from a multiple of it
// on lie side by side.
constexpr int64_t kTiledLine = 32;
constexpr int64_t tiled_sum(int64_t rows, int64_t r, int64_t n) {
  return rows <= 16 ? r * kCodePanel + n : (r / 32 * 2 + n / 32) * 1024 + r % 32 * 32 + n % 32;
}

// One block of one panel.
struct CodePanel {
  const std::byte* codes;
  const std::byte* next = nullptr;  // what is wanted after it, with the numbers before its codes
  const float* scales;              // [groups][kCodePanel]
  const float* offsets;             // likewise; null: none
  int64_t groups, steps;            // steps in a group
  const float* values;              // f32, bits4: the 16 values
  const uint16_t* bf16_values;      // bf16_dot, bits4: the 16 values, twice
  float centre;                     // bits8 with floats: what a code of 0 stands below 0
};

// sums [R, kCodePanel] += x w; tile[R - 1] takes R rows.
using CodeTile = void (*)(const CodeRows& x, const CodePanel& w, float* sums);
// The same for any number of rows, on a thread that has a TileUnit: `x` and `sums` lie in tiles.
// Each group has a scale of x of its own.
using CodeTileUnit = void (*)(const TiledRows& x, int64_t rows, const CodePanel& w, float* sums);
constexpr int kMostCodeRows = 12;
constexpr int kTileUnitJob = 256;  // rows that the tile unit is given at one time
struct CodeFamily {
  const char* name;
  int rows;           // the highest tile, or what the tile unit is given at one time
  int32_t zero8 = 0;  // int8, bits8: the code that the kernel takes for 0
  CodeTile bits4[kMostCodeRows] = {}, bits8[kMostCodeRows] = {}, e4m3[kMostCodeRows] = {};
  CodeTileUnit tile_unit[3] = {};  // by CodeKind, in place of the above

  const CodeTile* tiles(CodeKind kind) const {
    return kind == CodeKind::bits4 ? bits4 : kind == CodeKind::bits8 ? bits8 : e4m3;
  }
};

// What else each tier does in its widest registers.
struct CodeRowKernels {
  // x -> nearest i8 of x / scale, scale = max |x| / 127; returns the scale.
  float (*quantize)(const float* x, int64_t n, int8_t* codes);
  // n numbers of `dtype` (whole lines of kCodePanel) as float32, each line times `line` unless that
  // is null.
  void (*widen)(const std::byte* x, DType dtype, int64_t n, const float* line, float* out);
  void (*multiply)(float* x, const float* y, int64_t n);
  float (*sum)(const float* x, int64_t n);
};

extern const CodeFamily kCodesInt8Avx2, kCodesInt8Vnni, kCodesInt8VnniAhead, kCodesInt8Amx,
    kCodesF32Avx2, kCodesF32Avx512, kCodesBf16, kCodesBf16Amx;
extern const CodeRowKernels kCodeRowsAvx2, kCodeRowsAvx512;

}  // namespace quern::ops::cpu
