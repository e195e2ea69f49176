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

#include "ops/cpu/codes_dot.inc"
#include "ops/cpu/codes_pairs.inc"

template <CodeKind kind>
struct Decoder : PairDecoder<kind> {
  using PairDecoder<kind>::PairDecoder;

  // One step of 16 V columns times R rows.
  template <int R, int V>
  void step(const std::byte* codes, const std::byte* x, Sum (&low)[R][V], Sum (&high)[R][V]) const {
    const InputLane<R> x0(x, 0), x1(x, 1), x2(x, 2), x3(x, 3);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const __m512i lanes = load(codes + v * 64);
      x0.multiply(this->template pair<0>(lanes), v, low);
      x1.multiply(this->template pair<1>(lanes), v, low);
      const __m512i more = kind == CodeKind::bits4 ? lanes : load(codes + kCodePanel * 4 + v * 64);
      x2.multiply(this->template pair<2>(more), v, high);
      x3.multiply(this->template pair<3>(more), v, high);
    }
  }
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
