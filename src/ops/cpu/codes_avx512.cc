// SPDX-License-Identifier: Apache-2.0
// Codes times float32, 12 rows x 32 columns in 24 of 32 registers.
#include "ops/cpu/codes.h"
#include "ops/cpu/intrinsics.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

namespace quern::ops::cpu {
namespace {
#include "ops/cpu/simd_avx512.inc"

using Lanes = __m512i;
using Values = __m512;

inline Lanes load_lanes(const std::byte* p) {
  return _mm512_loadu_si512(p);
}
inline Values load_values(const float* p) {
  return p == nullptr ? _mm512_setzero_ps() : _mm512_loadu_ps(p);
}
inline Reg decode4(Lanes lanes, int shift, Values values) {
  return _mm512_permutexvar_ps(_mm512_srli_epi32(lanes, static_cast<unsigned>(shift)), values);
}
inline Lanes byte_at(Lanes lanes, int shift) {
  return _mm512_and_si512(_mm512_srli_epi32(lanes, static_cast<unsigned>(shift)),
                          _mm512_set1_epi32(255));
}
inline Reg decode8(Lanes lanes, int shift) {
  return _mm512_cvtepi32_ps(byte_at(lanes, shift));
}
// As f16 the same bits mean 2^-8 of the value; subnormal ones are converted like all others.
inline Reg decode_e4m3(Lanes lanes, int shift) {
  const Lanes code = byte_at(lanes, shift);
  const Lanes half =
      _mm512_or_si512(_mm512_slli_epi32(_mm512_and_si512(code, _mm512_set1_epi32(0x80)), 8),
                      _mm512_slli_epi32(_mm512_and_si512(code, _mm512_set1_epi32(0x7f)), 7));
  return _mm512_mul_ps(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(half)), _mm512_set1_ps(256.0f));
}
inline Reg widen_u8(const uint8_t* p) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

inline void store_i8(int8_t* p, Reg x, int64_t n) {
  const __mmask16 mask = n >= 16 ? 0xffff : static_cast<__mmask16>((1u << n) - 1);
  _mm_mask_storeu_epi8(p, mask, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x)));
}

#include "ops/cpu/codes_f32.inc"
}  // namespace

const CodeFamily kCodesF32Avx512 =
    family("avx512", std::make_integer_sequence<int, Simd::kTileRows>{});
const CodeRowKernels kCodeRowsAvx512 = kRowKernels;

}  // namespace quern::ops::cpu
