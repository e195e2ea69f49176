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

// Of AWQ's words: 16 make a cache line; four make a vector, and 32 rows of codes.
constexpr int64_t kTileK = 128, kTileWords = 16, kTileColumns = 4, kTileRows = 32;
constexpr std::array<int64_t, 8> kAwqOrder = {0, 2, 4, 6, 1, 3, 5, 7};  // output in nibble i

using Bytes = uint8_t __attribute__((vector_size(16)));

// Eight rows of 16 bytes to 16 columns of eight: interleaving the halves turns the address of each
// byte (row, then column) left by one bit; three turns put the row last. Vector v then holds column
// 2 v, top to bottom, and column 2 v + 1.
std::array<Bytes, 8> transposed(std::array<Bytes, 8> rows) {
  for (int turn = 0; turn < 3; ++turn) {
    std::array<Bytes, 8> next;
    for (size_t i = 0; i < 4; ++i) {
      const Bytes a = rows[i], b = rows[i + 4];
      next[2 * i] =
          __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      next[2 * i + 1] = __builtin_shufflevector(
          a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
    rows = next;
  }
  return rows;
}

// A tile of words on their way to codes. Its rows of codes are written out as whole cache lines:
// rows of the matrix lie a power of two apart, and eight bytes at a time would evict one another.
struct AwqTile {
  std::array<uint32_t, kTileK * kTileWords> words{};
  std::array<uint8_t, kTileRows * kTileK> codes;  // of kTileColumns words

  // Four columns of words from j on, eight rows from k on: byte b of word c holds, of each k, a
  // code of the outputs 8 c + kAwqOrder[2 b] and 8 c + kAwqOrder[2 b + 1].
  void unpack(uint8_t offset, int64_t k, int64_t j) {
    std::array<Bytes, 8> m;
    for (int64_t i = 0; i < 8; ++i)
      std::memcpy(
          &m[static_cast<size_t>(i)], words.data() + (k + i) * kTileWords + j, sizeof(Bytes));
    m = transposed(m);
    for (size_t v = 0; v < 8; ++v) {
      const Bytes low = (m[v] & 15) - offset, high = (m[v] >> 4) - offset;
      uint8_t* out = codes.data() + 8 * static_cast<int64_t>(v / 2) * kTileK + k;
      const int64_t* order = kAwqOrder.data() + v % 2 * 4;
      std::memcpy(out + order[0] * kTileK, &low, 8);
      std::memcpy(out + order[1] * kTileK, &high, 8);
      std::memcpy(out + order[2] * kTileK, reinterpret_cast<const uint8_t*>(&low) + 8, 8);
      std::memcpy(out + order[3] * kTileK, reinterpret_cast<const uint8_t*>(&high) + 8, 8);
    }
  }
};

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

void unpack_columns(const Fields& fields,
                    const WordTable& words,
                    Range columns,
                    const Tensor& codes) {
  constexpr int64_t kWide = 32, kDeep = 48;  // a whole number of units of every width
  const int64_t unit = fields.unit(), unit_words = fields.unit_words(), stride = codes.dim(1);
  QUERN_CHECK(words.rows % unit_words == 0 && codes.dim(0) == columns.size() &&
                  stride == words.rows / unit_words * unit,
              "words [{}, {}], codes {}",
              words.rows,
              words.width,
              codes.shape().text());
  std::array<uint32_t, kWide * kDeep> tile;
  for (int64_t n = 0; n < columns.size(); n += kWide)
    for (int64_t w = 0; w < words.rows; w += kDeep) {
      const int64_t wide = std::min(kWide, columns.size() - n),
                    deep = std::min(kDeep, words.rows - w);
      for (int64_t i = 0; i < deep; ++i) {
        const std::byte* in = words.at(w + i, columns.begin + n);
        for (int64_t j = 0; j < wide; ++j)
          std::memcpy(&tile[static_cast<size_t>(j * kDeep + i)], in + 4 * j, 4);
      }
      for (int64_t j = 0; j < wide; ++j)
        unpack_words(fields,
                     tile.data() + j * kDeep,
                     deep,
                     codes.data<uint8_t>() + (n + j) * stride + w / unit_words * unit);
    }
}

void unpack_awq(uint8_t offset, const WordTable& words, Range columns, const Tensor& codes) {
  const int64_t depth = words.rows, stride = codes.dim(1);
  QUERN_CHECK(codes.dim(0) == 8 * columns.size() && stride == depth,
              "words [{}, {}], codes {}",
              words.rows,
              words.width,
              codes.shape().text());
  AwqTile tile;
  for (int64_t w = 0; w < columns.size(); w += kTileWords)
    for (int64_t k = 0; k < depth; k += kTileK) {
      const int64_t wide = std::min(kTileWords, columns.size() - w),
                    deep = std::min(kTileK, depth - k), column = columns.begin + w;
      for (int64_t i = 0; i < deep; ++i)
        words.copy(k + i, {column, column + wide}, tile.words.data() + i * kTileWords);
      for (int64_t j = 0; j < wide; j += kTileColumns) {
        for (int64_t i = 0; i < deep; i += 8) tile.unpack(offset, i, j);
        uint8_t* out = codes.data<uint8_t>() + 8 * (w + j) * stride + k;
        for (int64_t r = 0; r < std::min(kTileRows, 8 * (wide - j)); ++r)
          std::copy_n(tile.codes.data() + r * kTileK, deep, out + r * stride);
      }
    }
}

}  // namespace quern
