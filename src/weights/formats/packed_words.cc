// SPDX-License-Identifier: Apache-2.0
// Eight fields are spread over the eight bytes of a 64-bit word by halving: each step moves the
// upper half of every group of fields to its place.
//
//   4 bits   |........76543210|  ->  |....7654....3210|  ->  |..76..54..32..10|  ->
//   |7.6.5.4.3.2.1.0|
//
// A transposed matrix is read a tile at a time through a small buffer: rows of the file lie a power
// of two apart often enough to fall on the same lines of the cache.
#include "weights/formats/packed_words.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace quern {
namespace {

constexpr uint64_t kEachByte = 0x0101010101010101;
constexpr uint64_t kHighBits = 0x80 * kEachByte;

uint64_t spread_nibbles(uint32_t word) {
  uint64_t v = word;
  v = (v | v << 16) & 0x0000ffff0000ffff;
  v = (v | v << 8) & 0x00ff00ff00ff00ff;
  return (v | v << 4) & 0x0f0f0f0f0f0f0f0f;
}

uint64_t spread_threes(uint32_t bits24) {
  uint64_t v = bits24;
  v = (v | v << 20) & 0x00000fff00000fff;
  v = (v | v << 10) & 0x003f003f003f003f;
  return (v | v << 5) & 0x0707070707070707;
}

uint64_t spread_pairs(uint32_t bits16) {
  uint64_t v = bits16;
  v = (v | v << 24) & 0x000000ff000000ff;
  v = (v | v << 12) & 0x000f000f000f000f;
  return (v | v << 6) & 0x0303030303030303;
}

// Subtracts the same number from eight bytes below 128: the set high bit keeps borrows inside.
uint64_t subtract(uint64_t bytes, uint64_t offsets) {
  return ((bytes | kHighBits) - offsets) ^ kHighBits;
}

void store(uint8_t* out, uint64_t bytes) {
  std::memcpy(out, &bytes, sizeof bytes);
}

void unpack_bytes(uint8_t offset, const uint32_t* words, int64_t count, uint8_t* out) {
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t word = offset == 0 ? words[i] : words[i] ^ 0x80808080;  // - 128, modulo 256
    std::memcpy(out + 4 * i, &word, sizeof word);
  }
}

void unpack_nibbles(uint64_t offsets, const uint32_t* words, int64_t count, uint8_t* out) {
  for (int64_t i = 0; i < count; ++i)
    store(out + 8 * i, subtract(spread_nibbles(words[i]), offsets));
}

void unpack_threes(uint64_t offsets, const uint32_t* words, int64_t count, uint8_t* out) {
  for (int64_t i = 0; i + 2 < count; i += 3, out += 32) {
    const uint64_t low = words[i] | static_cast<uint64_t>(words[i + 1]) << 32;
    const uint64_t high = low >> 48 | static_cast<uint64_t>(words[i + 2]) << 16;
    store(out, subtract(spread_threes(low & 0xffffff), offsets));
    store(out + 8, subtract(spread_threes(low >> 24 & 0xffffff), offsets));
    store(out + 16, subtract(spread_threes(high & 0xffffff), offsets));
    store(out + 24, subtract(spread_threes(static_cast<uint32_t>(high >> 24)), offsets));
  }
}

void unpack_pairs(uint64_t offsets, const uint32_t* words, int64_t count, uint8_t* out) {
  for (int64_t i = 0; i < count; ++i) {
    store(out + 16 * i, subtract(spread_pairs(words[i] & 0xffff), offsets));
    store(out + 16 * i + 8, subtract(spread_pairs(words[i] >> 16), offsets));
  }
}

// Exchanges the upper half of each `shift`-bit pair of `a` with the lower half of `b`'s.
void exchange(uint64_t& a, uint64_t& b, int shift, uint64_t low_halves) {
  const uint64_t swap = (a >> shift ^ b) & low_halves;
  a ^= swap << shift;
  b ^= swap;
}

// Byte j of word i becomes byte i of word j.
void transpose(std::array<uint64_t, 8>& m) {
  for (size_t i = 0; i < 4; ++i) exchange(m[i], m[i + 4], 32, 0x00000000ffffffff);
  for (const size_t i : {0, 1, 4, 5}) exchange(m[i], m[i + 2], 16, 0x0000ffff0000ffff);
  for (const size_t i : {0, 2, 4, 6}) exchange(m[i], m[i + 1], 8, 0x00ff00ff00ff00ff);
}

constexpr int64_t kTileK = 64, kTileWords = 16;  // of AWQ's words: 16 make a cache line
constexpr std::array<int64_t, 8> kAwqOrder = {0, 2, 4, 6, 1, 3, 5, 7};  // output in nibble i

// One tile: `depth` rows of words lie kTileWords apart in `tile`; column w of it becomes eight rows
// of `out`.
void unpack_awq_column(
    uint64_t offsets, const uint32_t* tile, int64_t depth, uint8_t* out, int64_t stride) {
  for (int64_t k = 0; k < depth; k += 8) {
    const int64_t count = std::min<int64_t>(8, depth - k);
    std::array<uint64_t, 8> m{};
    for (int64_t i = 0; i < count; ++i)
      m[static_cast<size_t>(i)] = subtract(spread_nibbles(tile[(k + i) * kTileWords]), offsets);
    transpose(m);
    for (size_t i = 0; i < 8; ++i)
      std::memcpy(out + kAwqOrder[i] * stride + k, &m[i], static_cast<size_t>(count));
  }
}

}  // namespace

void unpack_words(const Fields& fields, const uint32_t* words, int64_t count, uint8_t* codes) {
  const uint64_t offsets = fields.offset * kEachByte;
  switch (fields.bits) {
    case 2:
      return unpack_pairs(offsets, words, count, codes);
    case 3:
      return unpack_threes(offsets, words, count, codes);
    case 4:
      return unpack_nibbles(offsets, words, count, codes);
    case 8:
      return unpack_bytes(fields.offset, words, count, codes);
    default:
      QUERN_CHECK(false, "codes of {} bits", fields.bits);
  }
}

void unpack_columns(const Fields& fields, const Tensor& words, Range columns, const Tensor& codes) {
  constexpr int64_t kWide = 32, kDeep = 48;  // a whole number of units of every width
  const int64_t depth = words.dim(0), width = words.dim(1), stride = codes.dim(1);
  QUERN_CHECK(depth % fields.unit_words() == 0 && codes.dim(0) == columns.size() &&
                  stride == depth / fields.unit_words() * fields.unit(),
              "words {}, codes {}",
              words.shape().text(),
              codes.shape().text());
  std::array<uint32_t, kWide * kDeep> tile;
  for (int64_t n = 0; n < columns.size(); n += kWide)
    for (int64_t w = 0; w < depth; w += kDeep) {
      const int64_t wide = std::min(kWide, columns.size() - n), deep = std::min(kDeep, depth - w);
      const uint32_t* in = words.data<uint32_t>() + w * width + columns.begin + n;
      for (int64_t i = 0; i < deep; ++i)
        for (int64_t j = 0; j < wide; ++j)
          tile[static_cast<size_t>(j * kDeep + i)] = in[i * width + j];
      for (int64_t j = 0; j < wide; ++j)
        unpack_words(
            fields,
            tile.data() + j * kDeep,
            deep,
            codes.data<uint8_t>() + (n + j) * stride + w / fields.unit_words() * fields.unit());
    }
}

void unpack_awq(uint8_t offset, const Tensor& words, Range columns, const Tensor& codes) {
  const int64_t depth = words.dim(0), width = words.dim(1), stride = codes.dim(1);
  QUERN_CHECK(codes.dim(0) == 8 * columns.size() && stride == depth,
              "words {}, codes {}",
              words.shape().text(),
              codes.shape().text());
  const uint64_t offsets = offset * kEachByte;
  std::array<uint32_t, kTileK * kTileWords> tile;
  for (int64_t w = 0; w < columns.size(); w += kTileWords)
    for (int64_t k = 0; k < depth; k += kTileK) {
      const int64_t wide = std::min(kTileWords, columns.size() - w),
                    deep = std::min(kTileK, depth - k);
      const uint32_t* in = words.data<uint32_t>() + k * width + columns.begin + w;
      for (int64_t i = 0; i < deep; ++i)
        std::copy_n(in + i * width, wide, tile.data() + i * kTileWords);
      for (int64_t j = 0; j < wide; ++j)
        unpack_awq_column(offsets,
                          tile.data() + j,
                          deep,
                          codes.data<uint8_t>() + 8 * (w + j) * stride + k,
                          stride);
    }
}

}  // namespace quern
