// SPDX-License-Identifier: Apache-2.0
// Rows of codes of 2 to 8 bits as compressed-tensors packs them, lowest bits first, in 32-bit
// words: either densely, one code after the other (32 codes of b bits in b words), or aligned, as
// many whole codes as fit in each word. With 2, 4 and 8 bits both are the same. Private to the
// room.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace quern {

struct BitFields {
  int bits = 4;
  bool is_dense = true;

  // Words that `count` codes take.
  int64_t words_for(int64_t count) const {
    return is_dense ? (count * bits + 31) / 32 : (count + 32 / bits - 1) / (32 / bits);
  }
};

// The way in which `count` codes of `bits` take `words` words; dense where both would. Null if
// neither does.
std::optional<BitFields> bit_fields(int bits, int64_t count, int64_t words);

// codes[i] = field[begin + i] - 2^(bits - 1), for `count` fields of a row of words.
void unpack_fields(
    const BitFields& fields, const uint32_t* words, int64_t begin, int64_t count, int8_t* codes);

// Two codes of 4 bits from each byte, the low one first.
void unpack_nibble_bytes(const uint8_t* bytes, int64_t count, uint8_t* codes);

}  // namespace quern
