// SPDX-License-Identifier: Apache-2.0
// Codes of 2, 3, 4 or 8 bits, packed in 32-bit words, unpacked to a byte each: a word at a time, in
// tiles small enough for the first cache. Private to the room.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tensor/shard.h"
#include "tensor/tensor.h"

namespace quern {

// How fields become codes: code = field - offset, as int8 where offset is not 0. `offset` is 0 or
// 2^(bits - 1).
struct Fields {
  int bits = 4;
  uint8_t offset = 0;
  // Fields that fill a whole number of words: 3 bits go 32 to three words.
  int64_t unit() const { return bits == 3 ? 32 : 32 / bits; }
  int64_t unit_words() const { return bits == 3 ? 3 : 1; }
};

// `count` words in a row, lowest bits first; count is a multiple of unit_words().
void unpack_words(const Fields& fields, const uint32_t* words, int64_t count, uint8_t* codes);

// A table of 32-bit words in a mapped file, where they may lie unaligned.
struct WordTable {
  const std::byte* first = nullptr;
  int64_t rows = 0, width = 0;

  WordTable slice(int64_t begin, int64_t end) const { return {at(begin, 0), end - begin, width}; }
  const std::byte* at(int64_t row, int64_t column) const {
    return first + 4 * (row * width + column);
  }
  void copy(int64_t row, Range columns, uint32_t* out) const {
    std::memcpy(out, at(row, columns.begin), static_cast<size_t>(4 * columns.size()));
  }
};

// words [W, N], fields along W, to codes [columns, W fields]: what is packed downwards becomes
// rows. `columns` is a part of N.
void unpack_columns(const Fields& fields,
                    const WordTable& words,
                    Range columns,
                    const Tensor& codes);

// words [K, N / 8] of AutoAWQ's nibble order to codes [8 columns, K]. `columns` counts words.
void unpack_awq(uint8_t offset, const WordTable& words, Range columns, const Tensor& codes);

}  // namespace quern
