// SPDX-License-Identifier: Apache-2.0
// Attention of the CPU's fast tiers. Private to the room.
//
// Queries of one KV head form up to kRows rows; keys come in tiles of kKeys at fixed absolute
// positions. Per tile:
//
//        k panels [E][32 keys]      scores       p = exp(scores - largest so far)      v panels
//        [keys][32 of E]
//      +----+----+----+----+      +--------+      +--------+                          +----+----+
//   q  |    |    |    |    |  ->  |  rows  |  ->  |  rows  |  x  v, added to sums  <- |    |    |
//      +----+----+----+----+      | x keys |      | x keys |                          |    |    |
//                                 +--------+      +--------+                          +----+----+
//
// both products by the register tiles of tiles.inc. When a row meets a larger score, what it has
// summed shrinks by exp(old largest - new largest). Every kSplit positions a split ends; splits are
// summed up apart and merged in order, always, so that a long context can be shared out over
// threads and still give the bits that one thread gives. Dao et al. 2022 (tiles, running softmax);
// Dao et al. 2023, "Flash-Decoding" (splits).
#pragma once

#include <cstddef>

#include "ops/attention_inputs.h"

namespace quern::ops::cpu {

constexpr int kRows = 192;      // a multiple of every tile height and register
constexpr int kKeys = 128;      // a multiple of kPanel
constexpr int kSplit = 512;     // a multiple of kKeys
constexpr int kMostSize = 256;  // head size
constexpr int kQStride = kMostSize + 16, kPStride = kKeys + 16;
// Stands for "no score yet": finite, so that differences of it are no NaN, and below any score.
constexpr float kNoScore = -1e30f;

// The running softmax of kRows rows over one split. `sums` is cut into panels of 32 columns: [E /
// 32][kRows][32].
struct alignas(64) Running {
  float sums[kRows * kMostSize];
  float largest[kRows];
  float weight[kRows * 16];  // sums of p, lane by lane
};

// The same of one row, closed: its largest score, the sum of p, then from kRecordHead on the E
// sums.
constexpr int kRecordHead = 16;
inline int64_t record_size(int64_t size) {
  return kRecordHead + (size + 31) / 32 * 32;
}

// The memory of one task, on its stack.
// q, k, v and p hold what the kernels of a tier put there: float32, or bf16 in pairs.
struct alignas(64) Workspace {
  std::byte q[kRows * kQStride * 4];  // scaled
  std::byte k[kKeys * kMostSize * 4], v[kKeys * kMostSize * 4];
  std::byte p[kRows * kPStride * 4];
  float scores[kKeys * kRows];  // [keys / 32][kRows][32]
  float next[kRows], shrink[kRows];
  int32_t limit[kRows];  // how many keys of the tile a row sees
  Running split;
};

// Keys or values of one tile: `count` rows of float32 or bf16 elements, E long.
struct KeyRows {
  const void* row[kKeys];
  int count;
  int size;
  bool is_bf16;
};

struct AttentionKernels {
  void (*load_query)(const float* q, float scale, int size, int row, Workspace& ws);
  void (*pack_keys)(const KeyRows& keys, Workspace& ws);
  void (*pack_values)(const KeyRows& values, Workspace& ws);
  // One tile of `keys` keys, packed in ws, for the first `rows` rows: updates ws.split.
  void (*attend)(Workspace& ws, int rows, int keys, int size);
  void (*close)(const Running& split, int row, int size, float* record);
  void (*merge)(const float* record, int size, float* total);  // both records
  void (*finish)(const float* record, int size, float* out);   // out [E] = sums / weight
};

// The last rounds q, k, v and p to bf16: towers in that mode.
extern const AttentionKernels kAttentionAvx2, kAttentionAvx512, kAttentionAvx512Bf16;

// Whether these kernels carry `group` query heads of this size for each KV head.
inline bool accepts_heads(int64_t group, int64_t size) {
  return group <= kRows && size <= kMostSize;
}

void paged_attention(
    Ctx& ctx, const Tensor& q, const PagedKv& kv, const PagedAttention& in, const Tensor& out);
void segment_attention(Ctx& ctx, const SegmentInputs& in, const Tensor& out);

}  // namespace quern::ops::cpu
