// SPDX-License-Identifier: Apache-2.0
// Twelve independent chains hide the latency of every unit here. Operands are not zero: an idle
// multiplier would let the clock rise. The empty assembly keeps the compiler from folding steps.
#include "bench/peaks.h"

#include <sys/syscall.h>
#include <unistd.h>

// g++ 12 mistakes the undefined registers of its own header for mistakes (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

namespace quern::bench {
namespace {

constexpr int kChains = 12;

[[gnu::target("avx2,fma")]] void f32_avx2(int64_t steps) {
  const __m256 a = _mm256_set1_ps(1.25f), b = _mm256_set1_ps(-0.75f);
  __m256 sum[kChains] = {};
  for (int64_t i = 0; i < steps; ++i)
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) {
      sum[c] = _mm256_fmadd_ps(a, b, sum[c]);
      asm volatile("" : "+x"(sum[c]));
    }
}

// Without a dot product of bytes: 32 products, summed in pairs to 16 bits, again to 32, and added.
[[gnu::target("avx2")]] void int8_avx2(int64_t steps) {
  const __m256i a = _mm256_set1_epi8(37), b = _mm256_set1_epi8(-91), ones = _mm256_set1_epi16(1);
  __m256i sum[kChains] = {};
  for (int64_t i = 0; i < steps; ++i)
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) {
      __m256i x = a;
      asm volatile("" : "+x"(x));
      sum[c] = _mm256_add_epi32(sum[c], _mm256_madd_epi16(_mm256_maddubs_epi16(x, b), ones));
      asm volatile("" : "+x"(sum[c]));
    }
}

[[gnu::target("avx512f")]] void f32_avx512(int64_t steps) {
  const __m512 a = _mm512_set1_ps(1.25f), b = _mm512_set1_ps(-0.75f);
  __m512 sum[kChains] = {};
  for (int64_t i = 0; i < steps; ++i)
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) {
      sum[c] = _mm512_fmadd_ps(a, b, sum[c]);
      asm volatile("" : "+v"(sum[c]));
    }
}

[[gnu::target("avx512f,avx512bw")]] void int8_avx512(int64_t steps) {
  const __m512i a = _mm512_set1_epi8(37), b = _mm512_set1_epi8(-91), ones = _mm512_set1_epi16(1);
  __m512i sum[kChains] = {};
  for (int64_t i = 0; i < steps; ++i)
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) {
      __m512i x = a;
      asm volatile("" : "+v"(x));
      sum[c] = _mm512_add_epi32(sum[c], _mm512_madd_epi16(_mm512_maddubs_epi16(x, b), ones));
      asm volatile("" : "+v"(sum[c]));
    }
}

[[gnu::target("avx512f,avx512vnni")]] void int8_vnni(int64_t steps) {
  const __m512i a = _mm512_set1_epi8(37), b = _mm512_set1_epi8(-91);
  __m512i sum[kChains] = {};
  for (int64_t i = 0; i < steps; ++i)
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) {
      sum[c] = _mm512_dpbusd_epi32(sum[c], a, b);
      asm volatile("" : "+v"(sum[c]));
    }
}

[[gnu::target("avx512f,avx512bf16")]] void bf16_dot(int64_t steps) {
  const __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1.25f), _mm512_set1_ps(0.5f));
  const __m512bh b = _mm512_cvtne2ps_pbh(_mm512_set1_ps(-0.75f), _mm512_set1_ps(1.5f));
  __m512 sum[kChains] = {};
  for (int64_t i = 0; i < steps; ++i)
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) {
      sum[c] = _mm512_dpbf16_ps(sum[c], a, b);
      asm volatile("" : "+v"(sum[c]));
    }
}

// Tiles. All of a run stands in one piece of assembly, because the compiler may move or drop the
// configuration of tiles (g++ 12's intrinsics do not say that they touch memory). Four sums, two
// operands each: tmm0-3 += tmm4,5 x tmm6,7.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr int64_t kTileProducts = 4;

#define QUERN_TILE_LOOP(INSTRUCTION)                                                      \
  const TileConfig config;                                                                \
  alignas(64) uint8_t operand[1024];                                                      \
  for (uint8_t & byte : operand) byte = 0x3f;                                             \
  asm volatile(                                                                           \
      "ldtilecfg (%[config])\n\t"                                                         \
      "tilezero %%tmm0\n\ttilezero %%tmm1\n\t"                                            \
      "tilezero %%tmm2\n\ttilezero %%tmm3\n\t"                                            \
      "tileloadd (%[data],%[stride],1), %%tmm4\n\t"                                       \
      "tileloadd (%[data],%[stride],1), %%tmm5\n\t"                                       \
      "tileloadd (%[data],%[stride],1), %%tmm6\n\t"                                       \
      "tileloadd (%[data],%[stride],1), %%tmm7\n\t"                                       \
      "1:\n\t" INSTRUCTION " %%tmm6, %%tmm4, %%tmm0\n\t" INSTRUCTION                      \
      " %%tmm7, %%tmm4, %%tmm1\n\t" INSTRUCTION " %%tmm6, %%tmm5, %%tmm2\n\t" INSTRUCTION \
      " %%tmm7, %%tmm5, %%tmm3\n\t"                                                       \
      "dec %[steps]\n\t"                                                                  \
      "jnz 1b\n\t"                                                                        \
      "tilerelease"                                                                       \
      : [steps] "+r"(steps)                                                               \
      : [config] "r"(&config), [data] "r"(operand), [stride] "r"(int64_t{64})             \
      : "memory", "cc")

void int8_tiles(int64_t steps) {
  QUERN_TILE_LOOP("tdpbusd");
}

void bf16_tiles(int64_t steps) {
  QUERN_TILE_LOOP("tdpbf16ps");
}

#undef QUERN_TILE_LOOP

// The operating system lends the tile registers to processes that ask.
bool has_tiles(Isa isa) {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return isa >= Isa::amx && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

PeakLoop peak_loop(Isa isa, Unit unit) {
  constexpr int64_t kStep256 = 2 * kChains * 8, kStep512 = 2 * kChains * 16;
  constexpr int64_t kStepTiles = 2 * kTileProducts * 16 * 16;  // times the elements of a row
  switch (unit) {
    case Unit::f32:
      if (isa >= Isa::avx512) return {f32_avx512, kStep512};
      if (isa >= Isa::avx2) return {f32_avx2, kStep256};
      return {};
    case Unit::bf16:
      if (has_tiles(isa)) return {bf16_tiles, kStepTiles * 32};
      if (isa >= Isa::avx512_bf16) return {bf16_dot, kStep512 * 2};
      return {};
    case Unit::int8:
      if (has_tiles(isa)) return {int8_tiles, kStepTiles * 64};
      if (isa >= Isa::avx512_vnni) return {int8_vnni, kStep512 * 4};
      if (isa >= Isa::avx512) return {int8_avx512, kStep512 * 4};
      if (isa >= Isa::avx2) return {int8_avx2, kStep256 * 4};
      return {};
  }
  return {};
}

}  // namespace quern::bench
