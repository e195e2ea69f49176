// SPDX-License-Identifier: Apache-2.0
// Codes times int8 or bf16 by the tile unit. Codes of one chunk of inputs are decoded to tiles in
// the nearest cache once, for all rows. Two tiles of rows meet two of columns (up to 16 rows: one
// meets four), so that each is used twice. Between groups the unit's sums pass through memory to be
// scaled, which takes the vector units about as long as a group's products take; so they are at it
// while the unit works at later groups.
//
// Integer sums are exact, and scales come in as in codes_dot.inc: a row has the bits that
// avx512_vnni gives it. Codes are centred as they are decoded: those of 8 bits about 128, the
// others about their 0.
#include <algorithm>
#include <type_traits>

#include "ops/cpu/codes.h"
#include "ops/cpu/intrinsics.h"
#include "ops/cpu/tile_unit.h"

#pragma GCC target( \
    "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vnni,avx512vbmi,avx2,fma,f16c")

namespace quern::ops::cpu {
namespace {

#include "ops/cpu/codes_pairs.inc"

constexpr int64_t kChunkBytes = 1 << 14;  // of decoded codes

struct Int8 {
  using Element = int8_t;
  static constexpr int64_t kStepRows = 2;  // rows of a tile of columns that a step gives

  template <int c, int a, int b>
  static void add() {
    tile::add_int8<c, a, b>();
  }
  // Sums of one row, after `start`.
  static __m512 sums(const std::byte* row) { return _mm512_cvtepi32_ps(_mm512_load_si512(row)); }
  static __m512 sums(const std::byte* row, __m512i start) {
    return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_load_si512(row), start));
  }
};

struct Bf16 {
  using Element = uint16_t;
  static constexpr int64_t kStepRows = 4;

  template <int c, int a, int b>
  static void add() {
    tile::add_bf16<c, a, b>();
  }
  static __m512 sums(const std::byte* row) { return _mm512_load_ps(row); }
};

inline __m512i lanes_at(const std::byte* p) {
  return _mm512_loadu_si512(p);
}
inline void put(std::byte* rows, int i, __m512i x) {
  _mm512_store_si512(rows + 64 * i, x);
}

// One step of 16 columns as rows of a tile.
template <typename Inputs, CodeKind kind>
struct StepDecoder;

template <>
struct StepDecoder<Int8, CodeKind::bits4> {
  explicit StepDecoder(const CodePanel& w)
      : centre(_mm512_set1_epi8(static_cast<char>(w.centre))) {}
  void operator()(const std::byte* codes, std::byte* rows) const {
    const __m512i lanes = lanes_at(codes), nibble = _mm512_set1_epi8(15);
    put(rows, 0, _mm512_sub_epi8(_mm512_and_si512(lanes, nibble), centre));
    put(rows, 1, _mm512_sub_epi8(_mm512_and_si512(_mm512_srli_epi16(lanes, 4), nibble), centre));
  }
  const __m512i centre;
};

template <>
struct StepDecoder<Int8, CodeKind::bits8> {
  explicit StepDecoder(const CodePanel&) {}
  void operator()(const std::byte* codes, std::byte* rows) const {
    const __m512i top = _mm512_set1_epi8(-128);
    put(rows, 0, _mm512_xor_si512(lanes_at(codes), top));
    put(rows, 1, _mm512_xor_si512(lanes_at(codes + kCodePanel * 4), top));
  }
};

// The upper and the lower half of each magnitude of e4m3 in bf16. Codes below 8 are m 2^-9.
struct E4m3Tables {
  alignas(64) uint8_t upper[128] = {}, lower[128] = {};

  constexpr E4m3Tables() {
    constexpr uint16_t kSmall[] = {0, 0x3b00, 0x3b80, 0x3bc0, 0x3c00, 0x3c20, 0x3c40, 0x3c60};
    for (int code = 0; code < 128; ++code) {
      const int bits = code < 8 ? kSmall[code] : (code << 4) + (120 << 7);
      upper[code] = static_cast<uint8_t>(bits >> 8);
      lower[code] = static_cast<uint8_t>(bits & 255);
    }
  }
};
constexpr E4m3Tables kE4m3;

// e4m3 by look-up, 64 bytes at a time; the sign goes into the upper half.
template <>
struct StepDecoder<Bf16, CodeKind::e4m3> {
  explicit StepDecoder(const CodePanel&) {}
  void operator()(const std::byte* codes, std::byte* rows) const {
    two_rows(lanes_at(codes), rows);
    two_rows(lanes_at(codes + kCodePanel * 4), rows + 128);
  }

 private:
  // The even bytes of each lane, then the odd ones.
  static void two_rows(__m512i lanes, std::byte* rows) {
    constexpr __mmask64 kOdd = 0xaaaaaaaaaaaaaaaa;
    constexpr int kOrBoth = 0xf8;  // a | (b & c)
    const __m512i lower = looked_up(kE4m3.lower, lanes);
    const __m512i upper = _mm512_ternarylogic_epi32(
        looked_up(kE4m3.upper, lanes), lanes, _mm512_set1_epi8(-128), kOrBoth);
    put(rows, 0, _mm512_mask_blend_epi8(kOdd, lower, _mm512_slli_epi16(upper, 8)));
    put(rows, 1, _mm512_mask_blend_epi8(kOdd, _mm512_srli_epi16(lower, 8), upper));
  }

  static __m512i looked_up(const uint8_t (&table)[128], __m512i codes) {
    return _mm512_permutex2var_epi8(_mm512_load_si512(table), codes, _mm512_load_si512(table + 64));
  }
};

template <CodeKind kind>
struct StepDecoder<Bf16, kind> : PairDecoder<kind> {
  using PairDecoder<kind>::PairDecoder;
  void operator()(const std::byte* codes, std::byte* rows) const {
    const __m512i lanes = lanes_at(codes);
    const __m512i more = kind == CodeKind::bits4 ? lanes : lanes_at(codes + kCodePanel * 4);
    put(rows, 0, this->template pair<0>(lanes));
    put(rows, 1, this->template pair<1>(lanes));
    put(rows, 2, this->template pair<2>(more));
    put(rows, 3, this->template pair<3>(more));
  }
};

template <typename Inputs>
constexpr int64_t kRows16 = kTileRows* kRowBytes<typename Inputs::Element>;

// Many rows meet so many tiles of columns at a time.
constexpr int kChunkTiles = 2;

// Some groups of a panel, those columns of them from `first` on.
struct Chunk {
  int64_t tile_steps, group_tiles;  // steps in a tile, tiles in a group
  int64_t first = 0, first_group = 0, groups = 0;

  int64_t tiles() const { return groups * group_tiles; }
};

constexpr int64_t step_bytes(CodeKind kind) {
  return kCodePanel * (kind == CodeKind::bits4 ? 4 : 8);
}

// The tiles of a chunk: those of its columns beside each other, from input to input.
template <typename Inputs, CodeKind kind>
void decode(const CodePanel& w, const Chunk& chunk, std::byte* out) {
  constexpr int64_t kStepBytes = step_bytes(kind);
  const StepDecoder<Inputs, kind> decode_step(w);
  const std::byte* codes = w.codes + chunk.first_group * w.steps * kStepBytes + chunk.first * 4;
  for (int64_t t = 0; t < chunk.tiles(); ++t, out += kChunkTiles * kTileBytes)
    for (int64_t s = 0; s < chunk.tile_steps; ++s, codes += kStepBytes) {
#pragma GCC unroll 2
      for (int c = 0; c < kChunkTiles; ++c)
        decode_step(codes + c * 64, out + c * kTileBytes + s * Inputs::kStepRows * 64);
    }
}

// Asks memory for the block that comes next, a share with each group of each row: its codes and
// what lies before them.
struct Ahead {
  const std::byte* at;
  int64_t share;

  void fetch() {
    ask_for(at, share);
    at += share;
  }
};

// Sums of one group for R x 16 rows, as the tile unit left them, and where they go.
struct Done {
  std::byte* tiles;  // [R][C]
  const float *row_scales = nullptr,
              *row_sums = nullptr;                    // s_x and sum_x; null: nothing is done yet
  const float *scales = nullptr, *offsets = nullptr;  // of the first column
  float* sums = nullptr;
};

template <int n>
[[gnu::always_inline]] inline void repeat(const auto& run) {
  [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) {
    (run(std::integral_constant<int, i>{}), ...);
  }
  (std::make_integer_sequence<int, n>{});
}

// Scales alone; offsets too; and codes that are not centred, whose sums start at what that makes.
enum class Scaling { plain, offset, off_centre };

// What the sums of a group are scaled with, for 16 C columns.
template <typename Inputs, int C, Scaling scaling>
struct Scales {
  Scales(const Done& done, float centre) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      scale[c] = _mm512_loadu_ps(done.scales + c * 16);
      if constexpr (scaling != Scaling::plain) offset[c] = _mm512_loadu_ps(done.offsets + c * 16);
    }
    if constexpr (scaling == Scaling::off_centre) off_centre = _mm512_set1_ps(128 - centre);
  }

  // Adds row r to its results.
  [[gnu::always_inline]] void add(const Done& done, int64_t r) const {
    const std::byte* row = done.tiles + r / kTileRows * C * kTileBytes + r % kTileRows * 64;
    float* out = done.sums + r * 16 * C;
    const __m512 by = _mm512_set1_ps(done.row_scales[r]);
    __m512 sum = {};
    if constexpr (scaling != Scaling::plain) sum = _mm512_set1_ps(done.row_sums[r]);
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c, row += kTileBytes, out += 16) {
      __m512 part;
      if constexpr (scaling == Scaling::off_centre)
        part = _mm512_mul_ps(Inputs::sums(row, _mm512_cvtps_epi32(_mm512_mul_ps(sum, off_centre))),
                             scale[c]);
      else
        part = _mm512_mul_ps(Inputs::sums(row), scale[c]);
      if constexpr (scaling != Scaling::plain) part = _mm512_fmadd_ps(sum, offset[c], part);
      _mm512_storeu_ps(out, _mm512_fmadd_ps(by, part, _mm512_loadu_ps(out)));
    }
  }

  __m512 scale[C], offset[C], off_centre;
};

// All rows, if there is anything.
template <typename Inputs, int C, Scaling scaling>
[[gnu::noinline]] void scale_rows(Done done, float centre, int64_t rows) {
  if (done.row_scales == nullptr) return;
  const Scales<Inputs, C, scaling> scales(done, centre);
  for (int64_t row = 0; row < rows; ++row) scales.add(done, row);
}

// sums c += inputs a times columns b. With the first tile of a group the sums of the group before
// go out, each just before the unit needs its register: the unit then never waits, neither for a
// product to end nor for a register.
template <typename Inputs, bool is_first, int c, int a, int b>
inline void add(std::byte* before) {
  if constexpr (is_first) tile::restart<c>(before);
  Inputs::template add<c, a, b>();
}

// One tile of inputs of R x 16 rows times those of the columns at w. Rows of x are `row_bytes`
// long, and 16 of them kRows16 bytes behind the 16 before. `between` is called behind each of the
// four products, with its number: what it does runs beside the next.
template <typename Inputs, int R, bool is_first, typename Between>
[[gnu::always_inline]] inline void multiply_tile(const std::byte* x,
                                                 int64_t row_bytes,
                                                 const std::byte* w,
                                                 std::byte* before,
                                                 const Between& between) {
  tile::load<4>(x, row_bytes);
  if constexpr (R == 2) {
    tile::load<6>(w, 64);
    add<Inputs, is_first, 0, 4, 6>(before);
    between(std::integral_constant<int, 0>{});
    tile::load<7>(w + kTileBytes, 64);
    add<Inputs, is_first, 1, 4, 7>(before);
    between(std::integral_constant<int, 1>{});
    tile::load<5>(x + kRows16<Inputs>, row_bytes);
    add<Inputs, is_first, 2, 5, 6>(before);
    between(std::integral_constant<int, 2>{});
    add<Inputs, is_first, 3, 5, 7>(before);
    between(std::integral_constant<int, 3>{});
  } else {
    tile::load<5>(w, 64);
    add<Inputs, is_first, 0, 4, 5>(before);
    tile::load<6>(w + kTileBytes, 64);
    add<Inputs, is_first, 1, 4, 6>(before);
    tile::load<7>(w + 2 * kTileBytes, 64);
    add<Inputs, is_first, 2, 4, 7>(before);
    tile::load<5>(w + 3 * kTileBytes, 64);
    add<Inputs, is_first, 3, 4, 5>(before);
    between(std::integral_constant<int, 3>{});
  }
}

// Up to 16 rows and a whole panel, whose groups are T tiles wide: a stream of codes. While the unit
// multiplies the tiles of some inputs, those of the next are decoded.
template <typename Inputs, CodeKind kind, int T, Scaling scaling>
void multiply_few(const TiledRows& x, int64_t rows, const CodePanel& w, float* sums) {
  constexpr int C = 4;
  constexpr int64_t kStepBytes = step_bytes(kind);
  alignas(64) std::byte tiles[2][C * kTileBytes], results[2][C * kTileBytes];
  const StepDecoder<Inputs, kind> decode_step(w);
  const int64_t tile_steps = w.steps / T, tile_count = w.groups * T;
  const int64_t row_bytes =
      tile_steps * kCodeStep * static_cast<int64_t>(sizeof(typename Inputs::Element));
  const std::byte *codes = w.codes, *inputs = x.data;
  int64_t decoded = 0;
  const auto decode_next = [&]() __attribute__((always_inline)) {
    if (decoded == tile_count) return;
    std::byte* out = tiles[decoded++ % 2];
    for (int64_t s = 0; s < tile_steps; ++s, codes += kStepBytes) {
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        for (int64_t at = c * 64; at < kStepBytes; at += C * 64) ask_in_place<3072>(codes + at);
        decode_step(codes + c * 64, out + c * kTileBytes + s * Inputs::kStepRows * 64);
      }
    }
  };
  decode_next();
  Done multiplied{.tiles = results[0]}, stored{.tiles = results[1]};
  for (int64_t g = 0; g < w.groups; ++g) {
    repeat<T>([&](auto t) __attribute__((always_inline)) {
      const std::byte* columns = tiles[(g * T + t) % 2];
      multiply_tile<Inputs, 1, t == 0>(inputs, row_bytes, columns, multiplied.tiles, [](auto) {});
      inputs += kTileRows * row_bytes;
      decode_next();
    });
    scale_rows<Inputs, C, scaling>(stored, w.centre, rows);
    std::swap(multiplied, stored);
    multiplied.row_scales = x.scales + g * x.group_stride;
    multiplied.row_sums = x.sums + g * x.group_stride;
    multiplied.scales = w.scales + g * kCodePanel;
    multiplied.offsets = scaling != Scaling::plain ? w.offsets + g * kCodePanel : nullptr;
    multiplied.sums = sums;
  }
  scale_rows<Inputs, C, scaling>(stored, w.centre, rows);
  tile::store_sums(multiplied.tiles);
  scale_rows<Inputs, C, scaling>(multiplied, w.centre, rows);
}

// All rows over one chunk, whose groups are T tiles wide. While the unit multiplies group g, the
// sums of g - 1 are stored, and those of g - 2 scaled, some rows behind each product.
template <typename Inputs, int T, Scaling scaling>
void multiply_chunk(const TiledRows& x,
                    int64_t row_count,
                    const CodePanel& w,
                    const Chunk& chunk,
                    const std::byte* tiles,
                    Ahead& ahead,
                    float* sums) {
  constexpr int C = kChunkTiles;
  constexpr int64_t kRows = 2 * kTileRows;
  const int64_t row_bytes =
      chunk.tile_steps * kCodeStep * static_cast<int64_t>(sizeof(typename Inputs::Element));
  alignas(64) std::byte results[2][4 * kTileBytes];
  Done multiplied{.tiles = results[0]}, stored{.tiles = results[1]};
  constexpr int kPiece = kRows / (4 * T);
  const auto piece = [&](auto number) __attribute__((always_inline)) {
    if (stored.row_scales == nullptr) return;
    const Scales<Inputs, C, scaling> scales(stored, w.centre);
#pragma GCC unroll 8
    for (int row = 0; row < kPiece; ++row) scales.add(stored, number * kPiece + row);
  };
  for (int64_t row = 0; row < row_count; row += kRows) {
    const std::byte* inputs =
        x.data + row / kTileRows * kRows16<Inputs> + chunk.first_group * T * kTileRows * row_bytes;
    const std::byte* columns = tiles;
    for (int64_t g = chunk.first_group; g < chunk.first_group + chunk.groups; ++g) {
      ahead.fetch();
      repeat<T>([&](auto t) __attribute__((always_inline)) {
        multiply_tile<Inputs, 2, t == 0>(
            inputs,
            row_bytes,
            columns,
            multiplied.tiles,
            [&](auto product) __attribute__((always_inline)) {
              piece(std::integral_constant<int, 4 * t + product>{});
            });
        inputs += kTileRows * row_bytes, columns += C * kTileBytes;
      });
      std::swap(multiplied, stored);
      multiplied.row_scales = x.scales + g * x.group_stride + row;
      multiplied.row_sums = x.sums + g * x.group_stride + row;
      multiplied.scales = w.scales + g * kCodePanel + chunk.first;
      multiplied.offsets =
          scaling != Scaling::plain ? w.offsets + g * kCodePanel + chunk.first : nullptr;
      multiplied.sums = sums + row * kCodePanel + chunk.first * kRows;
    }
  }
  scale_rows<Inputs, C, scaling>(stored, w.centre, kRows);
  tile::store_sums(multiplied.tiles);
  scale_rows<Inputs, C, scaling>(multiplied, w.centre, kRows);
}

template <typename Inputs, CodeKind kind, int T, Scaling scaling>
void multiply_many(const TiledRows& x, int64_t rows, const CodePanel& w, float* sums) {
  constexpr int C = kChunkTiles;
  alignas(64) std::byte tiles[kChunkBytes];
  Chunk chunk{w.steps / T, T};
  constexpr int64_t kMost = kChunkBytes / (C * kTileBytes * T), kHeader = 4096;
  const int64_t block = w.groups * w.steps * step_bytes(kind);
  const int64_t shares =
      kCodePanel / (16 * C) * w.groups * ((rows + 2 * kTileRows - 1) / (2 * kTileRows));
  Ahead ahead{w.next, ((block + kHeader) / shares + 63) / 64 * 64};
  for (chunk.first = 0; chunk.first < kCodePanel; chunk.first += 16 * C)
    for (chunk.first_group = 0; chunk.first_group < w.groups; chunk.first_group += kMost) {
      chunk.groups = std::min(kMost, w.groups - chunk.first_group);
      decode<Inputs, kind>(w, chunk, tiles);
      multiply_chunk<Inputs, T, scaling>(x, rows, w, chunk, tiles, ahead, sums);
    }
}

template <typename Inputs, CodeKind kind, Scaling scaling>
void multiply_rows(const TiledRows& x, int64_t rows, const CodePanel& w, float* sums) {
  const auto run = [&](auto tiles) {
    constexpr int T = tiles;
    const auto with = rows <= kTileRows ? multiply_few<Inputs, kind, T, scaling>
                                        : multiply_many<Inputs, kind, T, scaling>;
    with(x, rows, w, sums);
  };
  const int64_t tiles = w.steps / steps_in_tile(w.steps, sizeof(typename Inputs::Element));
  if constexpr (std::is_same_v<Inputs, Bf16>)  // of int8, 128 inputs are two tiles
    if (tiles == 4) return run(std::integral_constant<int, 4>{});
  tiles == 2 ? run(std::integral_constant<int, 2>{}) : run(std::integral_constant<int, 1>{});
}

template <typename Inputs, CodeKind kind>
void multiply(const TiledRows& x, int64_t rows, const CodePanel& w, float* sums) {
  if constexpr (std::is_same_v<Inputs, Int8> && kind == CodeKind::bits8)
    if (w.centre != 128) {
      static constexpr float kNone[kMostGroups * kCodePanel] = {};
      CodePanel off = w;
      if (off.offsets == nullptr) off.offsets = kNone;
      return multiply_rows<Inputs, kind, Scaling::off_centre>(x, rows, off, sums);
    }
  const auto run = w.offsets == nullptr ? multiply_rows<Inputs, kind, Scaling::plain>
                                        : multiply_rows<Inputs, kind, Scaling::offset>;
  run(x, rows, w, sums);
}

}  // namespace

const CodeFamily kCodesInt8Amx = {
    .name = "amx",
    .rows = kTileUnitJob,
    .tile_unit = {multiply<Int8, CodeKind::bits4>, multiply<Int8, CodeKind::bits8>, nullptr}};
const CodeFamily kCodesBf16Amx = {.name = "amx",
                                  .rows = kTileUnitJob,
                                  .tile_unit = {multiply<Bf16, CodeKind::bits4>,
                                                multiply<Bf16, CodeKind::bits8>,
                                                multiply<Bf16, CodeKind::e4m3>}};

}  // namespace quern::ops::cpu
