// SPDX-License-Identifier: Apache-2.0
#include "weights/formats/bit_fields.h"

#include <cstring>

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

// The lowest `width` bits of every `step`.
constexpr uint64_t repeated_mask(int width, int step) {
  uint64_t mask = 0;
  for (int at = 0; at < 64; at += step) mask |= ((uint64_t{1} << width) - 1) << at;
  return mask;
}

// Moves the upper half of each group of 2 * width bits to the middle of its `step` bits.
template <int width, int step>
constexpr uint64_t part_halves(uint64_t v) {
  constexpr uint64_t kLow = repeated_mask(width, step);
  return (v & kLow) | (v >> width & kLow) << (step / 2);
}

// Eight dense fields at a time: they take `kBits` whole bytes, and part in three halvings.
template <int kBits>
void unpack_eights(const uint8_t* bytes, int64_t count, int8_t* codes) {
  constexpr uint64_t kHigh = 0x8080808080808080,
                     kOffsets = 0x0101010101010101 * (uint64_t{1} << (kBits - 1));
  for (int64_t i = 0; i < count; ++i, bytes += kBits, codes += 8) {
    uint32_t first = 0, rest = 0;
    std::memcpy(&first, bytes, 4);
    std::memcpy(&rest, bytes + 4, kBits - 4);
    uint64_t v = first | static_cast<uint64_t>(rest) << 32;
    v = part_halves<4 * kBits, 64>(v);
    v = part_halves<2 * kBits, 32>(v);
    v = part_halves<kBits, 16>(v);
    v = ((v | kHigh) - kOffsets) ^ kHigh;  // the set high bit keeps borrows inside bytes
    std::memcpy(codes, &v, 8);
  }
}

// What whole eights there are of 5, 6 or 7 bits; the number of fields that were unpacked.
int64_t unpack_wide(int bits, const uint8_t* bytes, int64_t count, int8_t* codes) {
  const int64_t eights = count / 8;
  if (bits == 5) unpack_eights<5>(bytes, eights, codes);
  if (bits == 6) unpack_eights<6>(bytes, eights, codes);
  if (bits == 7) unpack_eights<7>(bytes, eights, codes);
  return 5 <= bits && bits <= 7 ? 8 * eights : 0;
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
  } else if (fields.is_dense && begin % 8 == 0) {
    done = unpack_wide(fields.bits,
                       reinterpret_cast<const uint8_t*>(words) + begin / 8 * fields.bits,
                       count,
                       codes);
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
