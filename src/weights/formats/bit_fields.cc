// SPDX-License-Identifier: Apache-2.0
#include "weights/formats/bit_fields.h"

#include "weights/formats/packed_words.h"

namespace quern {
namespace {

bool has_fast_path(const BitFields& fields) {
  const int b = fields.bits;
  return b == 2 || b == 4 || b == 8 || (b == 3 && fields.is_dense);
}

// One field at a time: any width, from any place.
void unpack_each(
    const BitFields& fields, const uint32_t* words, int64_t begin, int64_t count, int8_t* codes) {
  const int64_t bits = fields.bits, in_word = 32 / bits;
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t n = begin + i;
    const int64_t bit = fields.is_dense ? n * bits : n / in_word * 32 + n % in_word * bits;
    uint64_t window = words[bit / 32];
    if (bit % 32 + bits > 32) window |= static_cast<uint64_t>(words[bit / 32 + 1]) << 32;
    codes[i] = static_cast<int8_t>(static_cast<int64_t>(window >> (bit % 32) & mask) -
                                   (int64_t{1} << (bits - 1)));
  }
}

}  // namespace

std::optional<BitFields> bit_fields(int bits, int64_t count, int64_t words) {
  for (const bool is_dense : {true, false}) {
    const BitFields fields{bits, is_dense};
    if (fields.words_for(count) == words) return fields;
  }
  return std::nullopt;
}

void unpack_fields(
    const BitFields& fields, const uint32_t* words, int64_t begin, int64_t count, int8_t* codes) {
  const Fields fast{.bits = fields.bits, .offset = static_cast<uint8_t>(1 << (fields.bits - 1))};
  int64_t done = 0;
  if (has_fast_path(fields) && begin % fast.unit() == 0) {
    const int64_t units = count / fast.unit();
    unpack_words(fast,
                 words + begin / fast.unit() * fast.unit_words(),
                 units * fast.unit_words(),
                 reinterpret_cast<uint8_t*>(codes));
    done = units * fast.unit();
  }
  unpack_each(fields, words, begin + done, count - done, codes + done);
}

void unpack_nibble_bytes(const uint8_t* bytes, int64_t count, uint8_t* codes) {
  for (int64_t i = 0; i < count; ++i) {
    codes[2 * i] = bytes[i] & 15;
    codes[2 * i + 1] = bytes[i] >> 4;
  }
}

}  // namespace quern
