// SPDX-License-Identifier: Apache-2.0
// bf16 times bf16 by the tile unit: 32 rows (up to 16: those) by the 32 columns of a panel, two
// tiles of rows and two of columns. Sums of 256 inputs start from zero and are added to the results
// while the unit is at the next rows.
#include <algorithm>

#include "ops/cpu/intrinsics.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/tile_unit.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

namespace quern::ops::cpu {
namespace {

constexpr int64_t kChunkTiles = 8;     // of inputs: so much of the weight fits the nearest cache
constexpr int64_t kLine = kPanel * 4;  // bytes from one pair of inputs of the weight to the next

// Sums of some rows as the unit left them, tiles of 16 x 16, which are added to their results a few
// rows at a time.
class Adding {
 public:
  explicit Adding(const std::byte* sums) : sums_(sums) {}
  void start(float* results, int64_t rows) { results_ = results, row_ = 0, rows_ = rows; }
  void step(int64_t count) {
    for (const int64_t end = std::min(rows_, row_ + count); row_ < end; ++row_)
      for (int64_t c = 0; c < 2; ++c) {
        const std::byte* from =
            sums_ + (row_ / kTileRows * 2 + c) * kTileBytes + row_ % kTileRows * 64;
        float* to = results_ + row_ * kPanel + c * 16;
        _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), _mm512_load_ps(from)));
      }
  }
  void finish() { step(rows_); }

 private:
  const std::byte* sums_;
  float* results_ = nullptr;
  int64_t row_ = 0, rows_ = 0;
};

// sums c += inputs a times columns b; the sum before goes out as its register is needed.
template <bool is_first, int c, int a, int b>
inline void multiply(std::byte* before) {
  if constexpr (is_first) tile::restart<c>(before);
  tile::add_bf16<c, a, b>();
}

// Few rows are a stream: asks memory for a quarter of the tile that comes so much later.
template <int R, int quarter>
inline void ask_quarter(const std::byte* w) {
  constexpr int64_t kQuarterBytes = kTileInputs / 2 * kLine / 4;
  if constexpr (R == 1)
    for (int64_t at = 0; at < kQuarterBytes; at += 64)
      ask_in_place<2048>(w + quarter * kQuarterBytes + at);
}

template <int R, bool is_first>
inline void multiply_tile(const std::byte* x, const std::byte* w, std::byte* before) {
  ask_quarter<R, 0>(w);
  tile::load<4>(x, 64);
  ask_quarter<R, 1>(w);
  tile::load<6>(w, kLine);
  multiply<is_first, 0, 4, 6>(before);
  ask_quarter<R, 2>(w);
  tile::load<7>(w + 64, kLine);
  multiply<is_first, 1, 4, 7>(before);
  ask_quarter<R, 3>(w);
  if constexpr (R == 2) {
    tile::load<5>(x + kTiledRowBytes * kTileRows, 64);
    multiply<is_first, 2, 5, 6>(before);
    multiply<is_first, 3, 5, 7>(before);
  }
}

template <int R>
void multiply_rows(const std::byte* x,
                   int64_t rows,
                   const std::byte* w,
                   int64_t tiles,
                   const std::byte* next,
                   float* results) {
  constexpr int64_t kRows = R * kTileRows, kTileLines = kTileInputs / 2 * kLine;
  constexpr int64_t kPiece =
      (kRows + kChunkTiles - 2) / (kChunkTiles - 1);  // rows that are added beside a tile
  alignas(64) std::byte sums[4 * kTileBytes];
  for (int64_t first = 0; first < tiles; first += kChunkTiles) {
    const int64_t count = std::min(tiles - first, kChunkTiles);
    const std::byte* chunk = w + first * kTileLines;
    const std::byte* ahead = first + count < tiles ? chunk + count * kTileLines : next;
    const int64_t share = kTileLines / ((rows + kRows - 1) / kRows) / 64 * 64;
    Adding adding(sums);
    for (int64_t row = 0; row < rows; row += kRows) {
      const std::byte* inputs = x + row * kTiledRowBytes + first * kTileBytes;
      const std::byte* columns = chunk;
      multiply_tile<R, true>(inputs, columns, sums);
      for (int64_t t = 1; t < count; ++t) {
        if (R == 2) ask_for(ahead, share), ahead += share;
        multiply_tile<R, false>(inputs += kTileBytes, columns += kTileLines, nullptr);
        adding.step(kPiece);
      }
      if (R == 2) ask_for(ahead, share), ahead += share;
      adding.finish();
      adding.start(results + row * kPanel, std::min(kRows, rows - row));
    }
    if constexpr (R == 2)
      tile::store_sums(sums);
    else
      tile::store<0>(sums), tile::store<1>(sums + kTileBytes);
    adding.finish();
  }
}

void multiply_all(const std::byte* x,
                  int64_t rows,
                  const std::byte* w,
                  int64_t tiles,
                  const std::byte* next,
                  float* results) {
  (rows <= kTileRows ? multiply_rows<1> : multiply_rows<2>)(x, rows, w, tiles, next, results);
}

}  // namespace

const TileUnitProduct kBf16TileUnit = multiply_all;

}  // namespace quern::ops::cpu
