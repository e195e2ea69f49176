// SPDX-License-Identifier: Apache-2.0
// Codes that are looked up as bf16, by the tile unit. Many rows: a quarter of a panel's block (32
// columns, 256 inputs) is decoded to tiles in the nearest cache once, for all of them; two tiles of
// columns meet two of rows. Few rows are a stream of codes: while the unit multiplies some columns,
// the next are decoded.
#include <algorithm>
#include <type_traits>

#include "ops/cpu/intrinsics.h"
#include "ops/cpu/table_codes.h"
#include "ops/cpu/tile_unit.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")

namespace quern::ops::cpu {
namespace {
#include "ops/cpu/simd_avx512.inc"

constexpr int64_t kColumns = 64, kQuarter = 32;
constexpr int64_t kChunkTiles = 4;  // of inputs
constexpr int64_t kMostTiles = kTableHalf * kChunkTiles;
constexpr int64_t kQuarterBytes = 2 * kMostTiles * kTileBytes;  // [inputs][columns] tiles
constexpr int64_t kTableBytes = 32, kTablesBytes = kColumns * kTableBytes;

// Decodes a block tile by tile. Members are copies: stores of bytes could change anything behind a
// reference.
template <TableShift shift, int groups>
class BlockDecoder {
 public:
  BlockDecoder(const TablePanel& w, std::byte* tables)
      : values_(_mm512_loadu_ps(w.values)),
        codes_(w.codes),
        scales_(w.scales),
        shifts_(w.shifts),
        tables_(tables) {}

  // Tile t of inputs of 16 columns. `asks` memory early.
  template <bool asks>
  [[gnu::always_inline]] void decode(int64_t t, int64_t column, std::byte* out) const {
    constexpr int64_t kGroupTiles = kChunkTiles / groups;
    if (t % kGroupTiles == 0) make_tables(t / kGroupTiles, column);
    const std::byte *codes = codes_ + (t * kColumns + column) * 16,
                    *table = tables_ + column * kTableBytes;
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c, codes += 64, table += 4 * kTableBytes, out += 256) {
      if constexpr (asks) ask_in_place<3072>(codes);
      const __m512i words = _mm512_loadu_si512(codes);
      put(out, words, table);
      put(out + 64, shifted<4>(words), table + kTableBytes);
      put(out + 128, shifted<8>(words), table + 2 * kTableBytes);
      put(out + 192, shifted<12>(words), table + 3 * kTableBytes);
    }
  }

 private:
  // As a product: VPERMW keeps the port busy that a shift would need.
  template <int bits>
  static __m512i shifted(__m512i words) {
    return _mm512_mulhi_epu16(words, _mm512_set1_epi16(1 << (16 - bits)));
  }
  // Of an index only five bits count, and bit 4 makes no difference.
  static void put(std::byte* out, __m512i codes, const std::byte* table) {
    const __m256i values = _mm256_load_si256(reinterpret_cast<const __m256i*>(table));
    _mm512_store_si512(out, _mm512_permutexvar_epi16(codes, _mm512_broadcast_i64x4(values)));
  }

  // Of 16 columns in one group: 16 values as bf16 for each.
  void make_tables(int64_t group, int64_t column) const {
    std::byte* out = tables_ + column * kTableBytes;
    const int64_t first = group * kColumns + column;
    for (int64_t n = first; n < first + kTileRows; n += 2, out += 2 * kTableBytes)
      _mm512_store_si512(
          out, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(table_of(n + 1), table_of(n))));
  }
  __m512 table_of(int64_t n) const {
    __m512 values = values_;
    if constexpr (shift == TableShift::before)
      values = _mm512_add_ps(values, _mm512_set1_ps(shifts_[n]));
    values = _mm512_mul_ps(values, _mm512_set1_ps(scales_[n]));
    if constexpr (shift == TableShift::after)
      values = _mm512_add_ps(values, _mm512_set1_ps(shifts_[n]));
    return values;
  }

  __m512 values_;
  const std::byte* codes_;
  const float *scales_, *shifts_;
  std::byte* tables_;
};

// Sums as the unit left them, which are added to their results a few lines at a time; or are them.
class Adding {
 public:
  explicit Adding(const std::byte* sums) : sums_(sums) {}
  void start(float* results, bool begins) {
    results_ = results, line_ = 0, old_ = begins ? 0 : 0xffff;
  }
  void step(int64_t count) {
    if (results_ == nullptr) return;
    for (const int64_t end = std::min(kLines, line_ + count); line_ < end; ++line_) {
      float* to = results_ + line_ * 16;
      const __m512 old = _mm512_maskz_loadu_ps(old_, to);
      _mm512_storeu_ps(to, _mm512_add_ps(old, _mm512_load_ps(sums_ + line_ * 64)));
    }
  }
  void finish() { step(kLines); }

 private:
  static constexpr int64_t kLines = 4 * kTileRows;
  const std::byte* sums_;
  float* results_ = nullptr;
  int64_t line_ = 0;
  __mmask16 old_ = 0;
};

// sums c += columns a times rows b; the sum before goes out as its register is needed.
template <bool is_first, int c, int a, int b>
inline void add_product(std::byte* before) {
  if constexpr (is_first) tile::restart<c>(before);
  tile::add_bf16<c, a, b>();
}

template <bool is_first>
inline void multiply_tiles(const std::byte* w, const std::byte* x, std::byte* before) {
  tile::load<4>(w, 64);
  tile::load<6>(x, 64);
  add_product<is_first, 0, 4, 6>(before);
  tile::load<7>(x + kTurnedRows, 64);
  add_product<is_first, 1, 4, 7>(before);
  tile::load<5>(w + kTileBytes, 64);
  add_product<is_first, 2, 5, 6>(before);
  add_product<is_first, 3, 5, 7>(before);
}

template <TableShift shift, int groups>
void multiply_many(const std::byte* x, int64_t rows, const TablePanel& w, float* sums) {
  constexpr int64_t kRows = 2 * kTileRows, kPiece = 10;  // lines added beside a tile
  alignas(64) std::byte tiles[kQuarterBytes], tables[kTablesBytes], out[4 * kTileBytes];
  const int64_t blocks = (rows + kRows - 1) / kRows, quarters = 2 * ((w.chunks + 1) / kTableHalf);
  const int64_t share = (w.chunks * 64 * kTableChunkBytes + 4096) / (blocks * quarters * 64) * 64;
  const std::byte* ahead = w.next;
  const BlockDecoder<shift, groups> decoder(w, tables);
  for (int64_t column = 0; column < 64; column += kQuarter)
    for (int64_t first = 0; first < w.chunks; first += kTableHalf) {
      const int64_t count = std::min(kTableHalf, w.chunks - first) * kChunkTiles;
      for (int64_t t = 0; t < 2 * count; ++t)
        decoder.template decode<false>(
            first * kChunkTiles + t / 2, column + t % 2 * kTileRows, tiles + t * kTileBytes);
      Adding adding(out);
      for (int64_t block = 0; block < blocks; ++block, ahead += share) {
        const std::byte* inputs = x + block * 2 * kTurnedRows + first * kChunkTiles * kTileBytes;
        ask_for(ahead, share);
        multiply_tiles<true>(tiles, inputs, out);
        for (int64_t t = 1; t < count; ++t) {
          multiply_tiles<false>(tiles + t * 2 * kTileBytes, inputs + t * kTileBytes, nullptr);
          adding.step(kPiece);
        }
        adding.finish();
        adding.start(sums + (block * 2 + column / kQuarter) * kTileBytes, w.begins && first == 0);
      }
      tile::store_sums(out);
      adding.finish();
    }
}

// Up to 16 rows: a stream of codes. While a tile is multiplied, one is decoded that comes 6 tiles
// later, into a ring of 8: what is read and what is written at one time then have different offsets
// in their pages. (A load would wait for a store that it has nothing to do with.)
template <TableShift shift, int groups>
class FewRows {
 public:
  FewRows(const TableStream& stream, const TablePanel& first)
      : stream_(stream), line_(4 * stream.rows), decoder_(first, tables_), late_(tiles_of(first)) {}

  void multiply(float* sums) {
    decode_columns<0>();
    decode_columns<1>();
    decode_columns<2>();
    decode_columns<3>();
    advance();
    decode_columns<0>();
    decode_columns<1>();
    Adding adding(out_);
    int64_t halves = 0;
    for (int64_t block = 0; block < stream_.blocks; ++block) {
      const int64_t tiles =
          kChunkTiles * std::min(kBlockChunks, stream_.chunks - block * kBlockChunks);
      x_ = stream_.x + block * stream_.x_stride;
      for (int64_t t = 0; t < tiles; ++t) {
        if (t % kMostTiles != 0) {
          multiply_inputs<false>(t);
          adding.step(kAddedLines);
          continue;
        }
        multiply_inputs<true>(t);
        if (halves > 0) adding.start(sums, halves == 1);
        ++halves;
      }
    }
    tile::store_sums(out_);
    adding.start(sums, halves == 1);
    adding.finish();
  }

 private:
  static constexpr int64_t kAddedLines = 4 * kTileRows / (kChunkTiles - 1) + 1;
  static constexpr int64_t kBlockChunks = kCodeBlock / kTableChunk;

  static int64_t tiles_of(const TablePanel& w) { return w.chunks * kChunkTiles; }

  // The c-th 16 columns of tile t of inputs.
  std::byte* ring(int64_t t, int c) { return ring_ + (t % 2 * 4 + c) * kTileBytes; }

  // The c-th 16 columns of what is decoded next.
  template <int c>
  [[gnu::always_inline]] void decode_columns() {
    if (early_ < late_) decoder_.template decode<true>(early_, c * kTileRows, ring(early_, c));
  }
  [[gnu::always_inline]] void advance() {
    if (++early_ == late_ && ++early_block_ < stream_.blocks) read_next();
  }
  [[gnu::noinline]] void read_next() {
    const TablePanel next = stream_.read(early_block_);
    decoder_ = BlockDecoder<shift, groups>(next, tables_);
    early_ = 0, late_ = tiles_of(next);
  }

  template <bool is_first, int c, int a>
  [[gnu::always_inline]] void multiply_columns(int64_t t) {
    tile::load<a>(ring(t, c), 64);
    add_product<is_first, c, a, 6>(out_);
    decode_columns<(c + 2) % 4>();
    if constexpr (c == 1) advance();
  }

  template <bool is_first>
  [[gnu::always_inline]] void multiply_inputs(int64_t t) {
    tile::load<6>(x_ + t * kTileRows * line_, line_);
    multiply_columns<is_first, 0, 4>(t);
    multiply_columns<is_first, 1, 5>(t);
    multiply_columns<is_first, 2, 7>(t);
    multiply_columns<is_first, 3, 4>(t);
  }

  const TableStream& stream_;
  const std::byte* x_ = nullptr;
  const int64_t line_;  // bytes
  alignas(4096) std::byte ring_[8 * kTileBytes];
  alignas(64) std::byte tables_[kTablesBytes], out_[4 * kTileBytes] = {};
  BlockDecoder<shift, groups> decoder_;
  int64_t early_ = 0, late_, early_block_ = 0;  // decoded tiles of inputs in their block
};

// Calls run with the shift and the number of groups as constants.
void with_kind(const TablePanel& w, const auto& run) {
  const auto with_groups = [&](auto shift) {
    switch (w.chunk_groups) {
      case 1:
        return run(shift, std::integral_constant<int, 1>{});
      case 2:
        return run(shift, std::integral_constant<int, 2>{});
      default:
        return run(shift, std::integral_constant<int, 4>{});
    }
  };
  switch (w.shift) {
    case TableShift::none:
      return with_groups(std::integral_constant<TableShift, TableShift::none>{});
    case TableShift::before:
      return with_groups(std::integral_constant<TableShift, TableShift::before>{});
    case TableShift::after:
      return with_groups(std::integral_constant<TableShift, TableShift::after>{});
  }
}

}  // namespace

void multiply_table(const std::byte* x, int64_t rows, const TablePanel& w, float* sums) {
  with_kind(w, [&](auto shift, auto groups) { multiply_many<shift, groups>(x, rows, w, sums); });
}

void multiply_table(const TableStream& stream, float* sums) {
  const TablePanel first = stream.read(0);
  with_kind(first,
            [&](auto shift, auto groups) { FewRows<shift, groups>(stream, first).multiply(sums); });
}

void turn_rows(const uint16_t* x, int64_t stride, int64_t inputs, std::byte* out) {
  Simd::Reg lines[16];
  for (int64_t k = 0; k < inputs; k += 32, out += kTileBytes) {
    for (int r = 0; r < 16; ++r)
      lines[r] = Simd::load(reinterpret_cast<const float*>(x + r * stride + k));
    Simd::transpose(lines);
    for (int r = 0; r < 16; ++r) Simd::store(reinterpret_cast<float*>(out + 64 * r), lines[r]);
  }
}

void put_sums(
    const float* sums, int64_t rows, Range lines, int64_t columns, const TableResults& to) {
  Simd::Reg turned[16];
  for (int64_t first = lines.begin; first < lines.end; first += kTileRows)
    for (int64_t n = 0; n < columns; n += 16) {
      const int64_t i = first / kTileRows, c = n / 16, width = std::min<int64_t>(columns - n, 16);
      const float* from = rows <= kTileRows
                              ? sums + c * 256
                              : sums + (((i / 2 * 2 + c / 2) * 2 + c % 2) * 2 + i % 2) * 256;
      for (int r = 0; r < 16; ++r) turned[r] = Simd::load(from + 16 * r);
      Simd::transpose(turned);
      const Simd::Reg bias =
          to.bias == nullptr ? Simd::zero() : Simd::load_first(to.bias + n, width);
      float* y = to.y + (first - lines.begin) * to.stride + n;
      const bool is_far = to.is_far && width == 16 && reinterpret_cast<uintptr_t>(y) % 64 == 0 &&
                          to.stride % 16 == 0;
      for (int64_t r = 0; r < std::min(kTileRows, lines.end - first); ++r, y += to.stride) {
        const Simd::Reg sum = to.bias == nullptr ? turned[r] : Simd::add(turned[r], bias);
        if (is_far)
          Simd::stream(y, sum);
        else
          Simd::store_first(y, sum, width);
      }
    }
}

}  // namespace quern::ops::cpu
