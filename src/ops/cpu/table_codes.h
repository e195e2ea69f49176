// SPDX-License-Identifier: Apache-2.0
// Codes of 4 bits on the tile unit: each column's codes are looked up in a table that its group's
// scale has already gone into, so that whole blocks are summed without a pause. The weight is then
// what was stored, rounded once to bf16.
//
// W is packed in panels of 64 columns of y (rows of W), a panel in blocks of kCodeBlock inputs
// (codes.h), a block by 32 inputs: 16 times 64 bytes. Nibble c of word k of the i-th is input k of
// column 4 i + c, lowest first. A look-up of 32 words then gives 32 inputs of one column, which is
// one row of a tile, and four of them follow each other. Inputs are filled up to whole chunks of
// 128.
//
// The unit multiplies W (rows of a tile are columns of y) by x turned on its side:
//
//   sums [64 columns, rows of x] += W [64, 512] xᵀ [512, rows],   256 inputs from zero at a time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/function_ref.h"
#include "ops/cpu/codes.h"
#include "tensor/shard.h"

namespace quern::ops::cpu {

constexpr int64_t kTableChunk = 128, kTableChunkBytes = kTableChunk / 2;
constexpr int64_t kTableHalf = 2;  // chunks that are summed from zero

// Where 32 inputs from k on of 4 columns lie in a block.
constexpr int64_t table_codes_at(int64_t k, int64_t column) {
  return k / 32 * 1024 + column * 16;
}

// What a number means beyond its scale: (value + shift) scale, or value scale + shift.
enum class TableShift : uint8_t { none, before, after };

// One block of one panel.
struct TablePanel {
  const std::byte* codes;
  const std::byte* next;         // what is wanted after it
  const float *scales, *shifts;  // [groups][64], for whole chunks; shifts where there are any
  const float* values;           // what the 16 codes mean
  int64_t chunks, chunk_groups;  // 1, 2 or 4 groups in a chunk
  TableShift shift;
  bool begins;  // sums: they are written, not added to
};

// x of a block, turned: tiles of 32 inputs by 16 rows, [inputs / 2][rows][2] of bf16, each of
// kTileBytes, those of 16 rows in order of inputs, kTurnedRows apart.
constexpr int64_t kTurnedRows = kCodeBlock / 32 * 1024;

// sums += W xᵀ on a thread whose unit is set_turned(): rows are taken 32 at a time, sums are
// [rows / 32][64 / 32][2][2] tiles of 16 columns by 16 rows: 32 columns after 32, in them columns
// before rows.
void multiply_table(const std::byte* x, int64_t rows, const TablePanel& w, float* sums);

// Up to 16 rows of x and a whole panel, as one stream from memory. Tiles of x lie close together,
// 4 rows bytes a line.
struct TableStream {
  const std::byte* x;
  int64_t x_stride, rows;                       // bytes from block to block
  int64_t blocks, chunks;                       // of the panel
  FunctionRef<TablePanel(int64_t block)> read;  // asked for in order; its numbers last until then
};
// sums [64][16] = W xᵀ.
void multiply_table(const TableStream& stream, float* sums);

// Tiles of x from 16 rows of bf16, `stride` elements apart and so many inputs long (a multiple of
// 32).
void turn_rows(const uint16_t* x, int64_t stride, int64_t inputs, std::byte* out);

struct TableResults {
  float* y;  // of the first of these rows and the panel's first column
  int64_t stride;
  const float* bias;  // null: none
  bool is_far;        // row_kernels.h: a fence must follow
};
// Some rows (from a multiple of 16 on) and the first `columns` columns of those sums, to y.
void put_sums(
    const float* sums, int64_t rows, Range lines, int64_t columns, const TableResults& to);

}  // namespace quern::ops::cpu
