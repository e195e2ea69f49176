// SPDX-License-Identifier: Apache-2.0
// bf16 times bf16 by VDPBF16PS: each step adds two products, (k, k + 1), to a float32 lane. The instruction has one rounding
// rule of its own (nearest, denormals as zero) whatever the control register says.
#include "ops/cpu/intrinsics.h"
#include "ops/cpu/kernels.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")

namespace quern::ops::cpu {
namespace {

constexpr int kVectors = 2;

inline __m512bh pairs(__m512i x) { return reinterpret_cast<__m512bh>(x); }

template <int R>
void tile_dot(const void* x_raw, const void* w_raw, int64_t steps, float* c) {
  const auto* x = static_cast<const int32_t*>(x_raw);  // pairs
  const auto* w = static_cast<const uint16_t*>(w_raw);
  __m512 sum[R][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) sum[r][0] = sum[r][1] = _mm512_setzero_ps();
  for (int64_t pair = 0; pair < steps; ++pair, ++x, w += 2 * kPanel) {
    _mm_prefetch(reinterpret_cast<const char*>(w) + kPrefetchBytes, _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(w) + kPrefetchBytes + 64, _MM_HINT_T0);
    const __m512bh w0 = pairs(_mm512_loadu_si512(w)), w1 = pairs(_mm512_loadu_si512(w + 32));
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const __m512bh b = pairs(_mm512_set1_epi32(x[r * kStrideBf16 / 2]));
      sum[r][0] = _mm512_dpbf16_ps(sum[r][0], b, w0);
      sum[r][1] = _mm512_dpbf16_ps(sum[r][1], b, w1);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      float* p = c + r * kPanel + v * 16;
      _mm512_storeu_ps(p, _mm512_add_ps(_mm512_loadu_ps(p), sum[r][v]));
    }
}

}  // namespace

const TileFamily kDotAvx512Bf16{{tile_dot<1>, tile_dot<2>, tile_dot<3>, tile_dot<4>, tile_dot<5>, tile_dot<6>, tile_dot<7>,
                                 tile_dot<8>, tile_dot<9>, tile_dot<10>, tile_dot<11>, tile_dot<12>}};

}  // namespace quern::ops::cpu
