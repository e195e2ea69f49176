// SPDX-License-Identifier: Apache-2.0
// Attention with q, k, v and p rounded to bf16 and multiplied in pairs by VDPBF16PS: pairs of e for
// q k, pairs of keys for p v. Softmax and all sums stay float32. The instruction has one rounding
// rule of its own (nearest, denormals as zero) whatever the control register says.
#include <type_traits>

#include "ops/cpu/attention.h"
#include "ops/cpu/intrinsics.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")

namespace quern::ops::cpu {
namespace {
#include "ops/cpu/simd_avx512.inc"

#include "ops/cpu/math.inc"

#include "ops/cpu/softmax.inc"

struct Dot {
  using Element = int32_t;
  static constexpr int kPer = 2;

  static __m512i halves(const Bf16* row, int n) {
    if (n >= 2 * kLanes) return _mm512_loadu_si512(row);
    return _mm512_maskz_loadu_epi16((__mmask32{1} << n) - 1, row);
  }
  // Lanes of a, then of b, as bf16.
  static __m512i narrow(Reg a, Reg b) {
    return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b, a));
  }
  template <typename Source>
  static Reg numbers_or_zero(const Source* row, int n) {
    return n > 0 ? numbers(row, n) : Simd::zero();
  }
  // The order (0, 32, 1, 33, …) that lays two rows side by side, from `first` on.
  static __m512i zipped(int first) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i even = _mm512_add_epi32(lane, _mm512_set1_epi32(first));
    return _mm512_or_si512(
        even, _mm512_slli_epi32(_mm512_add_epi32(even, _mm512_set1_epi32(2 * kLanes)), 16));
  }

  static Reg chunk(const Bf16* row, int n) { return _mm512_castsi512_ps(halves(row, n)); }
  template <typename Source>
  static Reg chunk(const Source* row, int n) {
    return _mm512_castsi512_ps(narrow(numbers(row, n), numbers_or_zero(row + kLanes, n - kLanes)));
  }

  static void zip(__m512i a, __m512i b, Reg (&w)[2]) {
    w[0] = _mm512_castsi512_ps(_mm512_permutex2var_epi16(a, zipped(0), b));
    w[1] = _mm512_castsi512_ps(_mm512_permutex2var_epi16(a, zipped(kLanes), b));
  }
  template <typename Source>
  static void values(const Source* const (&rows)[2], int n, Reg (&w)[2]) {
    zip(_mm512_castps_si512(chunk(rows[0], n)), _mm512_castps_si512(chunk(rows[1], n)), w);
  }

  static Reg add(Reg sum, int32_t x, Reg w) {
    return _mm512_dpbf16_ps(
        sum, reinterpret_cast<__m512bh>(_mm512_set1_epi32(x)), reinterpret_cast<__m512bh>(w));
  }
  static void store(int32_t* p, Reg x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
  }
  static void store(int32_t* p, Reg x, Reg y) { _mm512_storeu_si512(p, narrow(x, y)); }
  // 2^x = 2^n 2^r, n the whole number below x, 0 <= r < 1. Within 2^-18 of itself, far less
  // than what rounding p to bf16 takes; exactly 1 at 0.
  static Reg power(Reg x) {
    constexpr float kC[] = {6.930448413e-01f, 2.412802130e-01f, 5.224246904e-02f, 1.342668757e-02f};
    const Reg r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    return _mm512_scalef_ps(Simd::fma(polynomial(kC, r), r, Simd::set(1.0f)), x);
  }
};

#include "ops/cpu/attention.inc"
}  // namespace

const AttentionKernels kAttentionAvx512Bf16 = kKernels<Dot>;
const AttentionKernels kWideAttentionAvx512Bf16 = kKernels<Wide<Dot>>;

}  // namespace quern::ops::cpu
