// SPDX-License-Identifier: Apache-2.0
// Attention with q, k, v and p rounded to bf16 and multiplied in pairs: pairs of e for q k, pairs
// of keys for p v. Softmax and all sums stay float32.
#include "ops/cpu/attention.h"
#include "ops/cpu/intrinsics.h"
#include "ops/cpu/tiles.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")

namespace quern::ops::cpu {
namespace {
#include "ops/cpu/simd_avx512.inc"

#include "ops/cpu/math.inc"

#include "ops/cpu/dot.inc"

#include "ops/cpu/softmax.inc"

constexpr int kQHalves = kMostSize + 32, kPHalves = kKeys + 32;  // strides of q and p rows

inline uint16_t* halves(std::byte* bytes) {
  return reinterpret_cast<uint16_t*>(bytes);
}
inline int32_t* pairs_in(std::byte* bytes) {
  return reinterpret_cast<int32_t*>(bytes);
}

inline __m256i narrow(Reg x) {
  return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));
}
inline void store_halves(uint16_t* p, Reg x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(x));
}

// Pairs (a, b) from the lanes of two registers.
inline __m512i zip(Reg a, Reg b) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(narrow(a)),
                         _mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow(b)), 16));
}

void load_query(const float* q, float scale, int size, int row, Workspace& ws) {
  uint16_t* out = halves(ws.q) + row * kQHalves;
  for (int e = 0; e < size; e += kLanes)
    store_halves(out + e, Simd::mul(load_some(q + e, size - e), Simd::set(scale)));
}

// Thirty-two e of one key as sixteen pairs: what the transposition below moves.
template <typename Source>
inline Reg pairs_of(const Source* row, int size) {
  const Reg low = widen_some(row, size),
            high = size > kLanes ? widen_some(row + kLanes, size - kLanes) : Simd::zero();
  return _mm512_castsi512_ps(reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)));
}

template <typename Source>
void pack_keys_of(const KeyRows& keys, int32_t* out) {
  const int steps = (keys.size + 1) / 2;
  for (int j = 0; j < padded(keys.count, kPanel); j += kLanes)
    for (int step = 0; step < steps; step += kLanes) {
      Reg r[kLanes];
      for (int i = 0; i < kLanes; ++i)
        r[i] = j + i < keys.count ? pairs_of(static_cast<const Source*>(keys.row[j + i]) + 2 * step,
                                             keys.size - 2 * step)
                                  : Simd::zero();
      Simd::transpose(r);
      int32_t* panel = out + (j / kPanel * steps + step) * kPanel + j % kPanel;
      for (int i = 0; i < kLanes && step + i < steps; ++i)
        _mm512_storeu_si512(panel + i * kPanel, _mm512_castps_si512(r[i]));
    }
}

template <typename Source>
void pack_values_of(const KeyRows& values, int32_t* out) {
  for (int j = 0; j < values.count; j += 2)
    for (int e = 0; e < values.size; e += kLanes) {
      const Reg a = widen_some(static_cast<const Source*>(values.row[j]) + e, values.size - e);
      const Reg b =
          j + 1 < values.count
              ? widen_some(static_cast<const Source*>(values.row[j + 1]) + e, values.size - e)
              : Simd::zero();
      _mm512_storeu_si512(out + e / kPanel * (kKeys / 2) * kPanel + j / 2 * kPanel + e % kPanel,
                          zip(a, b));
    }
}

void pack_keys(const KeyRows& keys, Workspace& ws) {
  keys.is_bf16 ? pack_keys_of<uint16_t>(keys, pairs_in(ws.k))
               : pack_keys_of<float>(keys, pairs_in(ws.k));
}

void pack_values(const KeyRows& values, Workspace& ws) {
  values.is_bf16 ? pack_values_of<uint16_t>(values, pairs_in(ws.v))
                 : pack_values_of<float>(values, pairs_in(ws.v));
}

template <int64_t stride, int columns>
void multiply(int rows, const uint16_t* x, const int32_t* w, int64_t steps, float* c) {
  constexpr TileFamily kFamily = dot_family<stride, columns>(kDotHeights);
  for (int row = 0; row < rows; row += kDotRows) {
    const int height = rows - row < kDotRows ? rows - row : kDotRows;
    kFamily.tile[height - 1](x + row * stride, w, steps, c + row * kPanel);
  }
}

void score(Workspace& ws, int rows, int keys, int size) {
  const int steps = (size + 1) / 2;
  for (int panel = 0; panel * kPanel < keys; ++panel) {
    float* c = ws.scores + panel * kRows * kPanel;
    clear_scores(c, rows);
    multiply<kQHalves, kPanel>(
        rows, halves(ws.q), pairs_in(ws.k) + panel * steps * kPanel, steps, c);
  }
}

struct StoreBf16 {
  static void store(Workspace& ws, int row, int key, Reg p) {
    store_halves(halves(ws.p) + row * kPHalves + key, p);
  }
};

void add_values(Workspace& ws, int rows, int keys, int size) {
  const int steps = (keys + 1) / 2;
  for (int e = 0; e < size; e += kPanel) {
    const int32_t* v = pairs_in(ws.v) + e * (kKeys / 2);
    float* sums = ws.split.sums + e * kRows;
    if (size - e > 16)
      multiply<kPHalves, 32>(rows, halves(ws.p), v, steps, sums);
    else
      multiply<kPHalves, 16>(rows, halves(ws.p), v, steps, sums);
  }
}

void attend(Workspace& ws, int rows, int keys, int size) {
  score(ws, rows, keys, size);
  find_largest(ws, rows, padded(keys, kPanel));
  weigh<StoreBf16>(ws, rows, padded(keys, kPanel), size);
  add_values(ws, rows, keys, size);
}

}  // namespace

const AttentionKernels kAttentionAvx512Bf16{.load_query = load_query,
                                            .pack_keys = pack_keys,
                                            .pack_values = pack_values,
                                            .attend = attend,
                                            .close = close,
                                            .merge = merge,
                                            .finish = finish};

}  // namespace quern::ops::cpu
