// SPDX-License-Identifier: Apache-2.0
// Attention with q, k, v and p rounded to bf16 and multiplied by the tile unit: 32 query rows at a
// time (the last up to 16: those) by 32 keys for q k, by 32 columns for p v. Softmax and all sums
// stay float32. Few rows take the same way: a row's bits must not depend on its company.
#include <algorithm>
#include <span>
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

// Sums of R x 16 rows of x (of one, as many as the unit is set to; `stride` bytes apart) and the 32
// columns of a panel, over whole tiles: out [rows][32], rows `out_stride` bytes apart.
template <int R>
inline void multiply_panel(const std::byte* x,
                           int64_t stride,
                           const std::byte* panel,
                           int elements,
                           std::byte* out,
                           int64_t out_stride) {
  constexpr int64_t kLine = kWidth * 4;
  tile::clear<0>();
  tile::clear<1>();
  if constexpr (R == 2) tile::clear<2>(), tile::clear<3>();
  for (int e = 0; e < elements; e += kTileElements, x += 64, panel += kTileElements * kLine) {
    tile::load<4>(x, stride);
    tile::load<6>(panel, kLine);
    tile::add_bf16<0, 4, 6>();
    tile::load<7>(panel + 64, kLine);
    tile::add_bf16<1, 4, 7>();
    if constexpr (R == 2) {
      tile::load<5>(x + kTileRows * stride, stride);
      tile::add_bf16<2, 5, 6>();
      tile::add_bf16<3, 5, 7>();
    }
  }
  tile::store<0>(out, out_stride);
  tile::store<1>(out + 64, out_stride);
  if constexpr (R == 2) {
    tile::store<2>(out + kTileRows * out_stride, out_stride);
    tile::store<3>(out + kTileRows * out_stride + 64, out_stride);
  }
}

template <typename Kind, int R>
void score_tiles(const Group& group, int size, Workspace& ws) {
  const int elements = steps_of<Kind>(size);
  const std::byte* q = ws.q + group.first * kStride<Kind> * 4;
  for (int key = 0; key < group.seen; key += kWidth)
    multiply_panel<R>(q,
                      kStride<Kind> * 4,
                      ws.k + key * elements * 4,
                      elements,
                      reinterpret_cast<std::byte*>(ws.scores + key),
                      kScoreStride * 4);
}

// Few rows: keys are the left side of the product, as they lie where they can be, and the queries,
// turned once, its right side. Each score is the same chain as above.

// 16 keys as a tile reads them.
struct KeyTile {
  const std::byte* first;
  int64_t stride;
};

// Where 16 rows of whole tiles lie evenly they are read there, others are copied to `out`.
template <typename Kind, typename Source>
KeyTile key_tile(const KeyRows& rows, int key, std::byte* out) {
  const std::byte* const* row = rows.key + key;
  const int64_t stride = row[1] - row[0];
  bool is_even = std::is_same_v<Source, Bf16> && rows.size % Kind::kStep == 0;
  for (int i = 2; is_even && i < kTileRows; ++i) is_even = row[i] - row[i - 1] == stride;
  if (is_even) return {row[0], stride};
  const int steps = steps_of<Kind>(rows.size);
  for (int i = 0; i < kTileRows; ++i)
    for (int step = 0; step < steps; step += kLanes) {
      const int e = step * Kind::kPer;
      Simd::store(reinterpret_cast<float*>(out) + i * steps + step,
                  Kind::chunk(row_of<Source>(row[i]) + e, rows.size - e));
    }
  return {out, steps * 4};
}

// The group's queries as columns: [E / 2][16] pairs.
template <typename Kind>
void turn_queries(const Group& group, int steps, const Workspace& ws, float* out) {
  const float* q = reinterpret_cast<const float*>(ws.q) + group.first * kStride<Kind>;
  for (int step = 0; step < steps; step += kLanes) {
    Reg r[kLanes];
    for (int i = 0; i < kLanes; ++i)
      r[i] = i < group.rows ? Simd::load(q + i * kStride<Kind> + step) : Simd::zero();
    Simd::transpose(r);
    for (int i = 0; i < kLanes; ++i) Simd::store(out + (step + i) * kLanes, r[i]);
  }
}

// sums [64 keys][16 queries].
inline void multiply_keys(const KeyTile* keys, const std::byte* q, int elements, std::byte* sums) {
  tile::clear<0>();
  tile::clear<1>();
  tile::clear<2>();
  tile::clear<3>();
  for (int at = 0; at < elements * 4; at += 64, q += kTileBytes) {
    tile::load<6>(q, 64);
    tile::load<4>(keys[0].first + at, keys[0].stride);
    tile::add_bf16<0, 4, 6>();
    tile::load<5>(keys[1].first + at, keys[1].stride);
    tile::add_bf16<1, 5, 6>();
    tile::load<4>(keys[2].first + at, keys[2].stride);
    tile::add_bf16<2, 4, 6>();
    tile::load<5>(keys[3].first + at, keys[3].stride);
    tile::add_bf16<3, 5, 6>();
  }
  tile::store_sums(sums);
}

// Scores of up to kStripRows rows, 64 keys at a time.
template <typename Kind, typename Source>
void score_keys(const KeyRows& now, std::span<const Group> groups, Workspace& ws) {
  alignas(64) float q[kStripRows / kTileRows][kWideSize / Kind::kPer * kLanes];
  alignas(64) float sums[4 * kTileRows][kLanes];
  const int steps = steps_of<Kind>(now.size);
  int seen = 0;
  for (size_t g = 0; g < groups.size(); ++g) {
    turn_queries<Kind>(groups[g], steps, ws, q[g]);
    seen = std::max(seen, groups[g].seen);
  }
  for (int key = 0; key < seen; key += 4 * kTileRows) {
    KeyTile keys[4];
    for (int t = 0; t < 4; ++t)
      keys[t] = key_tile<Kind, Source>(now, key + t * kTileRows, ws.k + t * kTileRows * steps * 4);
    for (size_t g = 0; g < groups.size(); ++g) {
      multiply_keys(
          keys, reinterpret_cast<std::byte*>(q[g]), steps, reinterpret_cast<std::byte*>(sums));
      for (int t = 0; t < 4 * kTileRows; t += kLanes) {
        Reg r[kLanes];
        for (int k = 0; k < kLanes; ++k) r[k] = Simd::load(sums[t + k]);
        Simd::transpose(r);
        float* scores = ws.scores + groups[g].first * kScoreStride + key + t;
        for (int k = 0; k < groups[g].rows; ++k) Simd::store(scores + k * kScoreStride, r[k]);
      }
    }
  }
}

// totals = totals old + p v fresh, for up to R x 16 rows (of ws.p from row `at` on) and the columns
// of a panel.
template <typename Kind, int R>
void add_tile_panel(const Group& group,
                    const Merging* by,
                    const std::byte* panel,
                    int columns,
                    int64_t step,
                    float* totals,
                    const Workspace& ws,
                    int at = 0) {
  alignas(64) float sums[R * kGroup][kWidth];
  multiply_panel<R>(ws.p + at * kScoreStride * 4,
                    kScoreStride * 4,
                    panel,
                    steps_of<Kind>(group.seen),
                    reinterpret_cast<std::byte*>(sums),
                    kWidth * 4);
  for (int r = 0; r < group.rows; ++r, totals += step) {
    const Merging& m = by[r / kGroup];
    const Reg old = Simd::set(m.old[r % kGroup]), fresh = Simd::set(m.fresh[r % kGroup]);
    for (int c = 0; c < kWidth && c < columns; c += kLanes)
      Simd::store(
          totals + c,
          Simd::fma(Simd::load(sums[r] + c), fresh, Simd::mul(Simd::load(totals + c), old)));
  }
}

// R x 16 rows, or the last of them, against keys and values that are packed.
template <typename Kind, int R>
void attend_packed(const KeyRows& now, const Group& group, float* records, Workspace& ws) {
  const int64_t step = record_size(now.value_size);
  Merging merging[R];
  score_tiles<Kind, R>(group, now.size, ws);
  for (int at = 0; at < group.rows; at += kGroup) {
    const Group part{group.first + at, std::min(group.rows - at, kGroup), group.seen};
    weigh<Kind>(part, records + at * step, step, ws, at);
    merging[at / kGroup] = ws.merging;
  }
  for (int e = 0; e < now.value_size; e += kWidth)
    add_tile_panel<Kind, R>(group,
                            merging,
                            ws.v + e * (kSplit / Kind::kPer) * 4,
                            now.value_size - e,
                            step,
                            records + kRecordHead + e,
                            ws);
}

// Keys and values are packed once for all rows.
template <typename Kind, typename Source>
void attend_many_in_tiles(const KeyRows& now, int rows, float* totals, Workspace& ws) {
  pack_keys<Kind, Source>(now, elements<Kind>(ws.k));
  pack_values<Kind, Source>(now, elements<Kind>(ws.v));
  TileUnit unit;
  for (int first = 0; first < rows; first += 2 * kTileRows) {
    const Group group = group_of(first, std::min<int>(rows - first, 2 * kTileRows), ws);
    if (group.seen <= 0) continue;
    unit.set(group.rows, kTileElements);
    const auto attend = group.rows > kTileRows ? attend_packed<Kind, 2> : attend_packed<Kind, 1>;
    attend(now, group, totals + first * record_size(now.value_size), ws);
  }
}

// Keys are read as they lie, and a panel of values is used by all rows while it is near.
template <typename Kind, typename Source>
void attend_few_in_tiles(const KeyRows& now, int rows, float* totals, Workspace& ws) {
  const int64_t step = record_size(now.value_size);
  Group all[kStripRows / kTileRows];
  size_t count = 0;
  for (int first = 0; first < rows; first += kTileRows) {
    all[count] = group_of(first, std::min<int>(rows - first, kTileRows), ws);
    count += all[count].seen > 0 ? 1 : 0;
  }
  const std::span<const Group> groups(all, count);
  TileUnit unit(2 * kTileRows, kTileElements);
  score_keys<Kind, Source>(now, groups, ws);
  Merging merging[kStripRows / kTileRows];
  for (size_t g = 0; g < groups.size(); ++g) {
    weigh<Kind>(groups[g], totals + groups[g].first * step, step, ws, groups[g].first);
    merging[g] = ws.merging;
  }
  unit.set(std::min<int64_t>(rows, kTileRows), kTileElements);
  for (int e = 0; e < now.value_size; e += kWidth) {
    for (int key = 0; key < padded(now.count, Kind::kStep); key += Kind::kPer)
      pack_value<Kind, Source>(now, key, e, elements<Kind>(ws.v));
    for (size_t g = 0; g < groups.size(); ++g)
      add_tile_panel<Kind, 1>(groups[g],
                              &merging[g],
                              ws.v,
                              now.value_size - e,
                              step,
                              totals + groups[g].first * step + kRecordHead + e,
                              ws,
                              groups[g].first);
  }
}

// As keys lie, each 16 of them turn one block of scores for each 16 rows; packed, a block for each
// 32 elements. Measured, the former pays for keys of latent attention.
constexpr int kLongKey = 256;

template <typename Kind, typename Source>
void attend_source_in_tiles(const KeyRows& now, int rows, float* totals, Workspace& ws) {
  if (rows <= kStripRows && now.size >= kLongKey)
    return attend_few_in_tiles<Kind, Source>(now, rows, totals, ws);
  attend_many_in_tiles<Kind, Source>(now, rows, totals, ws);
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
