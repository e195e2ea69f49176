// SPDX-License-Identifier: Apache-2.0
// Attention with q, k, v and p rounded to bf16 and multiplied by the tile unit: 16 query rows at a
// time by 32 keys for q k, by 32 columns for p v. Softmax and all sums stay float32. Few rows take
// the same way: a row's bits must not depend on its company.
#include <algorithm>
#include <type_traits>

#include "ops/cpu/attention.h"
#include "ops/cpu/intrinsics.h"
#include "ops/cpu/tile_unit.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")

namespace quern::ops::cpu {
namespace {
#include "ops/cpu/simd_avx512.inc"

#include "ops/cpu/math.inc"

#include "ops/cpu/softmax.inc"

#include "ops/cpu/attention_dot.inc"

struct Tiles : Dot {
  static constexpr int kStep = 32;
};

#include "ops/cpu/attention.inc"

constexpr int kTileElements = 16;  // pairs in a row of a tile

// Sums of up to 16 rows of x (`stride` bytes apart) and the 32 columns of a panel, over whole
// tiles: out [rows][32], rows `out_stride` bytes apart.
inline void multiply_panel(const std::byte* x,
                           int64_t stride,
                           const std::byte* panel,
                           int elements,
                           std::byte* out,
                           int64_t out_stride) {
  constexpr int64_t kLine = kWidth * 4;
  tile::clear<0>();
  tile::clear<1>();
  for (int e = 0; e < elements; e += kTileElements, x += 64, panel += kTileElements * kLine) {
    tile::load<4>(x, stride);
    tile::load<6>(panel, kLine);
    tile::add_bf16<0, 4, 6>();
    tile::load<7>(panel + 64, kLine);
    tile::add_bf16<1, 4, 7>();
  }
  tile::store<0>(out, out_stride);
  tile::store<1>(out + 64, out_stride);
}

template <typename Kind>
void score_tiles(const Group& group, int size, Workspace& ws) {
  const int elements = steps_of<Kind>(size);
  const std::byte* q = ws.q + group.first * kStride<Kind> * 4;
  for (int key = 0; key < group.seen; key += kWidth)
    multiply_panel(q,
                   kStride<Kind> * 4,
                   ws.k + key * elements * 4,
                   elements,
                   reinterpret_cast<std::byte*>(ws.scores + key),
                   kScoreStride * 4);
}

template <typename Kind>
void add_tiles(const Group& group, int size, float* totals, Workspace& ws) {
  alignas(64) float sums[kGroup][kWidth];
  for (int e = 0; e < size; e += kWidth) {
    multiply_panel(ws.p,
                   kScoreStride * 4,
                   ws.v + e * (kSplit / Kind::kPer) * 4,
                   steps_of<Kind>(group.seen),
                   reinterpret_cast<std::byte*>(sums),
                   kWidth * 4);
    for (int r = 0; r < group.rows; ++r) {
      const Reg old = Simd::set(ws.merging.old[r]), fresh = Simd::set(ws.merging.fresh[r]);
      float* total = totals + r * record_size(size) + kRecordHead + e;
      for (int c = 0; c < kWidth && e + c < size; c += kLanes)
        Simd::store(
            total + c,
            Simd::fma(Simd::load(sums[r] + c), fresh, Simd::mul(Simd::load(total + c), old)));
    }
  }
}

template <typename Kind, typename Source>
void attend_source_in_tiles(const KeyRows& now, int rows, float* totals, Workspace& ws) {
  pack_keys<Kind, Source>(now, elements<Kind>(ws.k));
  pack_values<Kind, Source>(now, elements<Kind>(ws.v));
  const TileUnit unit(std::min<int64_t>(rows, kTileRows), kTileElements);
  for (int first = 0; first < rows; first += kTileRows) {
    const Group group = group_of(first, std::min<int>(rows - first, kTileRows), ws);
    if (group.seen <= 0) continue;
    float* records = totals + first * record_size(now.value_size);
    score_tiles<Kind>(group, now.size, ws);
    weigh<Kind>(group, records, record_size(now.value_size), ws);
    add_tiles<Kind>(group, now.value_size, records, ws);
  }
}

template <typename Kind>
void attend_in_tiles(const KeyRows& now, const KeyRows*, int rows, float* totals, Workspace& ws) {
  const auto run = now.dtype == DType::f32    ? attend_source_in_tiles<Kind, float>
                   : now.dtype == DType::bf16 ? attend_source_in_tiles<Kind, Bf16>
                                              : attend_source_in_tiles<Kind, F16>;
  run(now, rows, totals, ws);
}

template <typename Kind>
constexpr AttentionKernels kTileKernels{.load_query = load_query<Kind>,
                                        .attend = attend_in_tiles<Kind>,
                                        .merge = merge<Kind>,
                                        .finish = finish};
}  // namespace

const AttentionKernels kAttentionAmx = kTileKernels<Tiles>;
const AttentionKernels kWideAttentionAmx = kTileKernels<Wide<Tiles>>;

}  // namespace quern::ops::cpu
