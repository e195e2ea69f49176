// SPDX-License-Identifier: Apache-2.0
// Codes times bf16 by VDPBF16PS. A code is at most 8 bits wide, so it is exact in bf16, and so is
// its product with an input; scales come in only when a group is done.
#include <utility>

#include "ops/cpu/codes.h"
#include "ops/cpu/intrinsics.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")

namespace quern::ops::cpu {
namespace {

using Sum = __m512;
using Input = uint16_t;

// In assembly because g++ 12 otherwise copies the accumulators around and spills them.
inline void dot(Sum& sum, __m512i codes, __m512i inputs) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(inputs));
}
inline void dot(Sum& sum, __m512i codes, const std::byte* inputs) {
  asm("vdpbf16ps %2%{1to16%}, %1, %0"
      : "+v"(sum)
      : "v"(codes), "m"(*reinterpret_cast<const int32_t*>(inputs)));
}

// Always two, whatever the rows: a sum of floats depends on its order.
constexpr int chains(int) {
  return 2;
}
constexpr int vectors(int rows) {
  return rows <= 3 ? 4 : rows <= 6 ? 2 : 1;
}
template <CodeKind>
inline Sum join(Sum low, Sum high) {
  return _mm512_add_ps(low, high);
}
inline Sum start_of(const CodeGroup&) {
  return _mm512_setzero_ps();
}
inline __m512 as_float(Sum sum) {
  return sum;
}

// The high halves of two registers of floats that bf16 holds exactly, side by side.
inline __m512i side_by_side(__m512 even, __m512 odd) {
  return _mm512_mask_blend_epi16(
      0xaaaaaaaa, _mm512_srli_epi32(_mm512_castps_si512(even), 16), _mm512_castps_si512(odd));
}

// Byte `at` of each lane as a float.
template <int at>
inline __m512 byte_of(__m512i lanes, __m512 centre) {
  const __m512i code = _mm512_and_si512(_mm512_srli_epi32(lanes, 8 * at), _mm512_set1_epi32(255));
  return _mm512_sub_ps(_mm512_cvtepi32_ps(code), centre);
}

// e4m3 in the low bytes of 32 words -> bf16. Normal codes need their exponent moved by 120; the
// subnormal ones (m 2^-9) are looked up: the dot instruction would flush their shifted form.
inline __m512i widen_e4m3(__m512i code) {
  const __m512i small = _mm512_set_epi16(0,
                                         0,
                                         0,
                                         0,
                                         0,
                                         0,
                                         0,
                                         0,
                                         0,
                                         0,
                                         0,
                                         0,
                                         0,
                                         0,
                                         0,
                                         0,
                                         0,
                                         0,
                                         0,
                                         0,
                                         0,
                                         0,
                                         0,
                                         0,
                                         0x3c60,
                                         0x3c40,
                                         0x3c20,
                                         0x3c00,
                                         0x3bc0,
                                         0x3b80,
                                         0x3b00,
                                         0);
  const __m512i magnitude = _mm512_and_si512(code, _mm512_set1_epi16(0x7f));
  const __m512i normal =
      _mm512_add_epi16(_mm512_slli_epi16(magnitude, 4), _mm512_set1_epi16(120 << 7));
  const __mmask32 is_small = _mm512_testn_epi16_mask(code, _mm512_set1_epi16(0x78));
  const __m512i value = _mm512_mask_permutexvar_epi16(normal, is_small, magnitude, small);
  const __m512i sign = _mm512_slli_epi16(_mm512_and_si512(code, _mm512_set1_epi16(0x80)), 8);
  return _mm512_or_si512(value, sign);
}

#include "ops/cpu/codes_dot.inc"

template <CodeKind kind>
struct Decoder {
  explicit Decoder(const CodePanel& w)
      : values(kind == CodeKind::bits4 ? _mm512_loadu_si512(w.bf16_values)
                                       : _mm512_setzero_si512()),
        centre(_mm512_set1_ps(w.centre)) {}

  // Pair p of a step from its lanes. Of an index into `values` only five bits count, and bit 4
  // makes no difference.
  template <int p>
  __m512i pair(__m512i lanes) const {
    constexpr int kShift[] = {0, 8, 4, 12};
    if constexpr (kind == CodeKind::bits4)
      return _mm512_permutexvar_epi16(p == 0 ? lanes : _mm512_srli_epi16(lanes, kShift[p]), values);
    if constexpr (kind == CodeKind::bits8)
      return side_by_side(byte_of<p % 2>(lanes, centre), byte_of<p % 2 + 2>(lanes, centre));
    return widen_e4m3(p % 2 == 0 ? lanes : _mm512_srli_epi16(lanes, 8));
  }

  // One step of 16 V columns times R rows.
  template <int R, int V>
  void step(const std::byte* codes, const std::byte* x, Sum (&low)[R][V], Sum (&high)[R][V]) const {
    const InputLane<R> x0(x, 0), x1(x, 1), x2(x, 2), x3(x, 3);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const __m512i lanes = load(codes + v * 64);
      x0.multiply(pair<0>(lanes), v, low);
      x1.multiply(pair<1>(lanes), v, low);
      const __m512i more = kind == CodeKind::bits4 ? lanes : load(codes + kCodePanel * 4 + v * 64);
      x2.multiply(pair<2>(more), v, high);
      x3.multiply(pair<3>(more), v, high);
    }
  }

  __m512i values;  // bits4: 16 bf16 values, twice
  __m512 centre;   // bits8
};

template <int... r>
constexpr CodeFamily family(std::integer_sequence<int, r...>) {
  return {.name = "avx512_bf16",
          .rows = kRows,
          .bits4 = {tile<CodeKind::bits4, r + 1>...},
          .bits8 = {tile<CodeKind::bits8, r + 1>...},
          .e4m3 = {tile<CodeKind::e4m3, r + 1>...}};
}

}  // namespace

const CodeFamily kCodesBf16 = family(std::make_integer_sequence<int, kRows>{});

}  // namespace quern::ops::cpu
