// SPDX-License-Identifier: Apache-2.0
// The tile unit (AMX): eight registers of up to 16 rows of up to 64 bytes. A product adds to a tile
// of 32-bit sums c [M, N] what a [M, K] times b gives, where row i of b holds the inputs of one
// lane (four of 8 bits, two of bf16) for each of the N columns.
//
// In assembly: g++ 12's intrinsics do not say that they touch memory, so it drops the stores that
// fill a configuration, and the CPU faults. Instructions stay in the order of the source.
//
// A bf16 product is, whatever the control register says (nearest even, denormals as zero),
//   c += (chain of multiply-adds over the even inputs) + (the same over the odd ones)
// with chains over the up to 16 lanes of one instruction, from zero. Intel SDM, "TDPBF16PS".
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace quern::ops::cpu {

constexpr int64_t kTileRows = 16, kTileBytes = 1024;  // of a register; rows lie 64 bytes apart

// What so many rows take where the unit reads and writes its last tiles whole: two tiles of rows at
// a time.
constexpr int64_t whole_tiles(int64_t rows) {
  return (rows + 2 * kTileRows - 1) / (2 * kTileRows) * (2 * kTileRows);
}

// The calling thread's unit, given back at the end. Once set, tiles 0-3 are sums of `rows` rows and
// 16 columns, 4 and 5 take `rows` rows of inputs, 6 and 7 columns of a weight; rows of inputs are
// `lanes` lanes wide. With few rows tile 5 takes columns as well.
class TileUnit {
 public:
  TileUnit() = default;
  TileUnit(int64_t rows, int64_t lanes) { set(rows, lanes); }
  ~TileUnit() {
    if (rows_ != 0) asm volatile("tilerelease" : : : "memory");
  }
  TileUnit(const TileUnit&) = delete;
  TileUnit& operator=(const TileUnit&) = delete;

  void set(int64_t rows, int64_t lanes) {
    if (is_set(rows, lanes)) return;
    const bool is_few = rows <= kTileRows;
    Config config;
    for (int t = 0; t < 8; ++t) {
      const bool is_columns = t >= 6 || (is_few && t == 5);
      config.rows[t] = static_cast<uint8_t>(is_columns ? lanes : is_few ? rows : kTileRows);
      config.row_bytes[t] = static_cast<uint16_t>(t == 4 || (t == 5 && !is_few) ? 4 * lanes : 64);
    }
    load(config);
  }

  // The sides exchanged: tiles 4 and 5 take 16 rows of 64 bytes of a weight, 6 and 7 inputs of
  // `rows` rows of x (more than 16: 16), and sums are 16 rows of the weight by those. With few rows
  // tile 7 takes those of the weight as well.
  void set_turned(int64_t rows) {
    if (is_set(-rows, kTileRows)) return;
    const auto bytes = static_cast<uint16_t>(4 * std::min(rows, kTileRows));
    Config config;
    for (int t = 0; t < 8; ++t) {
      config.rows[t] = kTileRows;
      config.row_bytes[t] =
          t == 4 || t == 5 || (t == 7 && rows <= kTileRows) ? uint16_t{64} : bytes;
    }
    load(config);
  }

 private:
  struct alignas(64) Config {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
  };

  bool is_set(int64_t rows, int64_t lanes) {
    const bool was = rows == rows_ && lanes == lanes_;
    rows_ = rows, lanes_ = lanes;
    return was;
  }
  static void load(const Config& config) {
    asm volatile("ldtilecfg %0" : : "m"(config) : "memory");
  }

  int64_t rows_ = 0, lanes_ = 0;  // turned: rows below 0
};

namespace tile {

template <int t>
inline void clear() {
  asm volatile("tilezero %%tmm%c0" : : "i"(t));
}
template <int t>
inline void load(const std::byte* from, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(t) : "memory");
}
template <int t>
inline void store(std::byte* to, int64_t stride = 64) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(t) : "memory");
}
template <int c, int a, int b>
inline void add_int8() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
}
template <int c, int a, int b>
inline void add_bf16() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
}

// A new sum in register c; the one before goes out just before its register is needed, so that the
// unit never waits for a product to end. Sums of four registers lie one after the other.
template <int c>
inline void restart(std::byte* sums) {
  store<c>(sums + c * kTileBytes);
  clear<c>();
}
inline void store_sums(std::byte* sums) {
  store<0>(sums);
  store<1>(sums + kTileBytes);
  store<2>(sums + 2 * kTileBytes);
  store<3>(sums + 3 * kTileBytes);
}

}  // namespace tile
}  // namespace quern::ops::cpu
