// SPDX-License-Identifier: Apache-2.0
// Codes times int8 by VPDPBUSD: four products of an unsigned and a signed byte added to each 32-bit
// lane, nothing saturates.
#include <utility>

#include "ops/cpu/codes.h"
#include "ops/cpu/intrinsics.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")

namespace quern::ops::cpu {
namespace {

using Sum = __m512i;
using Input = int8_t;

// In assembly because g++ 12 otherwise copies the accumulators around and spills them.
inline void dot(Sum& sum, __m512i codes, __m512i inputs) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(inputs));
}
inline void dot(Sum& sum, __m512i codes, const std::byte* inputs) {
  asm("vpdpbusd %2%{1to16%}, %1, %0"
      : "+v"(sum)
      : "v"(codes), "m"(*reinterpret_cast<const int32_t*>(inputs)));
}

// Whole numbers add up the same in any order: many rows need no second chain.
constexpr int chains(int rows) {
  return rows <= 3 ? 2 : 1;
}
constexpr int vectors(int rows) {
  return rows <= 6 ? 4 : 2;
}
// With two chains high nibbles are multiplied where they stand, 16 times too much.
template <CodeKind kind>
inline Sum join(Sum low, Sum high) {
  return _mm512_add_epi32(low, kind == CodeKind::bits4 ? _mm512_srai_epi32(high, 4) : high);
}
inline Sum start_of(const CodeGroup& group) {
  return _mm512_set1_epi32(group.start);
}
inline __m512 as_float(Sum sum) {
  return _mm512_cvtepi32_ps(sum);
}

#include "ops/cpu/codes_dot.inc"

template <CodeKind kind>
struct Decoder {
  explicit Decoder(const CodePanel&) {}

  // One step of 16 V columns times R rows.
  template <int R, int V>
  void step(const std::byte* codes, const std::byte* x, Sum (&even)[R][V], Sum (&odd)[R][V]) const {
    const InputLane<R> first(x, 0), second(x, 1);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const __m512i lanes = load(codes + v * 64);
      if constexpr (kind == CodeKind::bits4) {
        first.multiply(_mm512_and_si512(lanes, nibble), v, even);
        if constexpr (chains(R) == 2)
          second.multiply(_mm512_andnot_si512(nibble, lanes), v, odd);
        else
          second.multiply(_mm512_and_si512(_mm512_srli_epi16(lanes, 4), nibble), v, odd);
      } else {
        first.multiply(lanes, v, even);
        second.multiply(load(codes + kCodePanel * 4 + v * 64), v, odd);
      }
    }
  }

  const __m512i nibble = _mm512_set1_epi8(15);
};

template <bool asks, int... r>
constexpr CodeFamily family(std::integer_sequence<int, r...>) {
  return {.name = "avx512_vnni",
          .rows = sizeof...(r),
          .bits4 = {tile<CodeKind::bits4, r + 1, asks>...},
          .bits8 = {tile<CodeKind::bits8, r + 1, asks>...},
          .e4m3 = {}};
}

}  // namespace

const CodeFamily kCodesInt8Vnni = family<false>(std::make_integer_sequence<int, kRows>{});
const CodeFamily kCodesInt8VnniAhead = family<true>(std::make_integer_sequence<int, 6>{});

}  // namespace quern::ops::cpu
