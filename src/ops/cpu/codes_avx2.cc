// SPDX-License-Identifier: Apache-2.0
// Codes times float32 and times int8 on AVX2. There the integer products are of pairs of bytes into
// 16 bits: 15 x 127 x 2 leaves room for eight of them; codes of 8 bits are first split into sign
// and magnitude (VPSIGNB moves the sign to the input) and leave room for one.
#include "ops/cpu/codes.h"
#include "ops/cpu/intrinsics.h"

#pragma GCC target("avx2,fma,f16c")

namespace quern::ops::cpu {
namespace {
#include "ops/cpu/simd_avx2.inc"

using Lanes = __m256i;
struct Values {
  __m256 low, high;  // values 0..7 and 8..15
};

inline Lanes load_lanes(const std::byte* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
inline Values load_values(const float* p) {
  return p == nullptr ? Values{_mm256_setzero_ps(), _mm256_setzero_ps()}
                      : Values{_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
inline Reg decode4(Lanes lanes, int shift, Values values) {
  const Lanes index = _mm256_srli_epi32(lanes, shift);
  return _mm256_blendv_ps(_mm256_permutevar8x32_ps(values.low, index),
                          _mm256_permutevar8x32_ps(values.high, index),
                          _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
}
inline Lanes byte_at(Lanes lanes, int shift) {
  return _mm256_and_si256(_mm256_srli_epi32(lanes, shift), _mm256_set1_epi32(255));
}
inline Reg decode8(Lanes lanes, int shift) {
  return _mm256_cvtepi32_ps(byte_at(lanes, shift));
}
inline Reg decode_e4m3(Lanes lanes, int shift) {
  const Lanes code = byte_at(lanes, shift);
  const Lanes half =
      _mm256_or_si256(_mm256_slli_epi32(_mm256_and_si256(code, _mm256_set1_epi32(0x80)), 8),
                      _mm256_slli_epi32(_mm256_and_si256(code, _mm256_set1_epi32(0x7f)), 7));
  const Lanes packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(half, half), 0b1000);
  return _mm256_mul_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(packed)), _mm256_set1_ps(256.0f));
}
inline Reg widen_u8(const uint8_t* p) {
  return _mm256_cvtepi32_ps(
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}

inline void store_i8(int8_t* p, Reg x, int64_t n) {
  alignas(32) float rounded[kLanes];
  Simd::store(rounded, Simd::round(x));
  for (int64_t i = 0; i < kLanes && i < n; ++i) p[i] = static_cast<int8_t>(rounded[i]);
}

#include "ops/cpu/codes_f32.inc"

constexpr int kInt8Rows = 4;
constexpr int64_t kRun = 4;  // steps whose 16-bit sums cannot overflow: 8 products of 15 x 127 x 2

inline __m256i input(const CodeRows& x, int r, int64_t k) {
  return _mm256_set1_epi32(*reinterpret_cast<const int32_t*>(x.data + r * kRowBytes<int8_t> + k));
}

// Registers of eight columns that R rows take at a time: whole cache lines of codes.
constexpr int vectors_int8(int rows) {
  return rows == 1 ? 4 : 2;
}

template <int R, int V>
inline void run4(
    const CodeRows& x, const std::byte* codes, int64_t k, int64_t steps, __m256i (&dot)[R][V]) {
  const __m256i nibble = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
  __m256i pairs[R][V];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) pairs[r][v] = _mm256_setzero_si256();
  for (int64_t s = 0; s < steps; ++s, k += kCodeStep, codes += kCodePanel * 4)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const Lanes lanes = load_lanes(codes + v * 32);
      const __m256i low = _mm256_and_si256(lanes, nibble),
                    high = _mm256_and_si256(_mm256_srli_epi16(lanes, 4), nibble);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        pairs[r][v] = _mm256_add_epi16(pairs[r][v], _mm256_maddubs_epi16(low, input(x, r, k)));
        pairs[r][v] = _mm256_add_epi16(pairs[r][v], _mm256_maddubs_epi16(high, input(x, r, k + 4)));
      }
    }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v)
      dot[r][v] = _mm256_add_epi32(dot[r][v], _mm256_madd_epi16(pairs[r][v], ones));
}

template <int R, int V>
inline void run8(
    const CodeRows& x, const std::byte* codes, int64_t k, int64_t steps, __m256i (&dot)[R][V]) {
  const __m256i middle = _mm256_set1_epi8(-128), ones = _mm256_set1_epi16(1);
  for (int64_t half = 0; half < 2 * steps; ++half, k += 4, codes += kCodePanel * 4)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const __m256i code = _mm256_xor_si256(load_lanes(codes + v * 32), middle),
                    magnitude = _mm256_abs_epi8(code);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const __m256i pairs =
            _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(input(x, r, k), code));
        dot[r][v] = _mm256_add_epi32(dot[r][v], _mm256_madd_epi16(pairs, ones));
      }
    }
}

// 8 V columns of R rows.
template <CodeKind kind, int R, int V>
inline void columns_int8(const CodeRows& x, const CodePanel& w, float* sums) {
  constexpr int64_t kStepBytes = kind == CodeKind::bits4 ? kCodePanel * 4 : kCodePanel * 8;
  const std::byte* codes = w.codes;
  Reg part[R][V];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) part[r][v] = Simd::zero();
  for (int64_t g = 0, k = 0; g < w.groups; ++g) {
    __m256i dot[R][V];
    Reg whole[R][V];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v)
        dot[r][v] = _mm256_set1_epi32(x.groups[r * x.group_stride + g].start);
    for (int64_t s = 0; s < w.steps; s += kRun) {
      const int64_t steps = w.steps - s < kRun ? w.steps - s : kRun;
      (kind == CodeKind::bits4 ? run4<R, V> : run8<R, V>)(x, codes, k, steps, dot);
      k += steps * kCodeStep;
      codes += steps * kStepBytes;
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) whole[r][v] = _mm256_cvtepi32_ps(dot[r][v]);
    add_group<R, V>(x, w, g, whole, part);
    if (x.groups[g].is_last != 0) add_part<R, V>(x, g, part, sums);
  }
}

template <CodeKind kind, int R>
void tile_int8(const CodeRows& x, const CodePanel& w, float* sums) {
  constexpr int V = vectors_int8(R);
  CodePanel part = w;
  for (int64_t n = 0; n < kCodePanel; n += V * kLanes) {
    part.codes = w.codes + n * 4;
    part.scales = w.scales + n;
    part.offsets = w.offsets == nullptr ? nullptr : w.offsets + n;
    columns_int8<kind, R, V>(x, part, sums + n);
  }
}

template <int... r>
constexpr CodeFamily family_int8(std::integer_sequence<int, r...>) {
  return {.name = "avx2",
          .rows = sizeof...(r),
          .zero8 = 128,
          .bits4 = {tile_int8<CodeKind::bits4, r + 1>...},
          .bits8 = {tile_int8<CodeKind::bits8, r + 1>...},
          .e4m3 = {}};
}

}  // namespace

const CodeFamily kCodesF32Avx2 = family("avx2", std::make_integer_sequence<int, Simd::kTileRows>{});
const CodeFamily kCodesInt8Avx2 = family_int8(std::make_integer_sequence<int, kInt8Rows>{});
const CodeRowKernels kCodeRowsAvx2 = kRowKernels;

}  // namespace quern::ops::cpu
