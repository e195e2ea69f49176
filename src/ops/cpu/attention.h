// SPDX-License-Identifier: Apache-2.0
// Attention of the CPU's fast tiers. Private to the room.
//
// The query heads that share a KV head stand under each other as rows, so that its keys and values
// are read once. Keys come in splits of kSplit at fixed absolute positions. For some rows (as many
// as a register tile is high) and one split:
//
//        k panels, key by key        scores        p = 2^(score - largest)      v panels
//        side by side, [E][keys]                                              [keys][E]
//      +----+----+----+----+       +--------+        +--------+             +----+----+
//   q  |    |    |    |    |   ->  |  rows  |   ->   |  rows  |  x  v  <-   |    |    |
//      +----+----+----+----+       | x keys |        | x keys |             |    |    |
//                                  +--------+        +--------+             +----+----+
//
// What a split gives a row (the largest score, the sum of p, p v) is a record. Records are merged
// in the order of the splits, always: the earlier sums shrink by 2^(old largest - new largest).
// So a long context can be shared out over threads and still give the bits that one thread gives,
// and a row's bits depend on its own keys alone. Every score is one chain over E, every sum one
// chain over the keys of a split, whichever kernel runs:
//
//   many rows   keys and values are packed into panels once, and all rows run over them;
//   few rows    (decoding) keys are turned in registers and values are read where they lie.
//
// Dao et al. 2022 (tiles, running softmax); Dao et al. 2023, "Flash-Decoding" (splits).
#pragma once

#include <cstddef>

#include "ops/attention_inputs.h"

namespace quern::ops::cpu {

constexpr int kRows = 768;      // of one task; a multiple of every tile height
constexpr int kSplit = 256;     // keys; a multiple of every panel
constexpr int kMostSize = 256;  // head size
constexpr int kGroup = 16;      // at least the height of any register tile
// As many query rows of a KV head as make a strip rather than a tile: more would leave many
// records.
constexpr int kStripRows = 64;
constexpr int kQStride = kMostSize + 16, kScoreStride = kSplit + 16;
// Latent rows (MLA) are wider, one for all heads: fewer query rows to a task.
constexpr int kWideRows = 288, kWideSize = 640, kWideStride = kWideSize + 16;
// Query heads that share a task over latent rows, about: more tasks than one for few tokens.
constexpr int64_t kWideHeads = 16;
// Stands for "no score yet": finite, so that differences of it are no NaN, and below any score.
constexpr float kNoScore = -1e30f;

// A record: the largest score (in units of ln 2), the sum of p, then from kRecordHead on E sums.
constexpr int kRecordHead = 16, kMostRecord = kRecordHead + kMostSize;
inline int64_t record_size(int64_t size) {
  return kRecordHead + (size + 31) / 32 * 32;
}

// Up to kGroup records that each take in one more split.
struct alignas(64) Merging {
  float largest[kGroup], weight[kGroup];            // so far
  float next_largest[kGroup], next_weight[kGroup];  // of the split
  float old[kGroup], fresh[kGroup];                 // factors of the earlier sums and the new ones
};

// The memory of one task, on its stack. Elements of 32 bits: float32, or pairs of bf16.
struct alignas(64) Workspace {
  std::byte q[kRows * kQStride * 4];  // scaled, zero beyond E
  std::byte k[kSplit * kWideSize * 4], v[kSplit * kWideSize * 4];
  float widened[kSplit * kWideSize];  // a split of codes: keys, then values unless keys hold them
  float scores[kStripRows * kScoreStride];
  std::byte p[kStripRows * kScoreStride * 4];
  Merging merging;
  int32_t limit[kRows];  // how many keys of the split a row sees
};

static_assert(kWideRows * kWideStride <= kRows * kQStride && 2 * kMostSize <= kWideSize &&
              kWideRows * (kRecordHead + kWideSize) <= kRows * kMostRecord);

// Where the keys and values of one split lie: `count` rows of `size` and `value_size` elements,
// then rows of zeros.
struct KeyRows {
  const std::byte *key[kSplit], *value[kSplit];
  int count;
  int size, value_size;
  DType dtype;
};

struct AttentionKernels {
  void (*load_query)(const float* q, float scale, int size, int row, Workspace& ws);
  // Merges one split into the first `rows` records of `totals`. `next` (may be null) is the split
  // that will follow: few rows ask memory for its keys early.
  void (*attend)(const KeyRows& now, const KeyRows* next, int rows, float* totals, Workspace& ws);
  void (*merge)(const float* record, int size, float* total);  // both records
  void (*finish)(const float* record, int size, float* out);   // out [E] = sums / weight
};

// The last two round q, k, v and p to bf16.
extern const AttentionKernels kAttentionAvx2, kAttentionAvx512, kAttentionAvx512Bf16, kAttentionAmx;
extern const AttentionKernels kWideAttentionAvx2, kWideAttentionAvx512, kWideAttentionAvx512Bf16,
    kWideAttentionAmx;

// Whether these kernels carry `group` query heads of this size for each KV head.
inline bool accepts_heads(int64_t group, int64_t size) {
  return group <= kRows && size <= kMostSize;
}
// How many groups of about so many query heads share the one latent row, group by group: a divisor
// of `heads`.
int64_t latent_groups(int64_t heads, int64_t height = kWideHeads);
inline bool accepts_latent(int64_t heads, int64_t size) {
  return heads / latent_groups(heads) <= kWideRows && size <= kWideSize;
}

void paged_attention(
    Ctx& ctx, const Tensor& q, const PagedKv& kv, const PagedAttention& in, const Tensor& out);
void latent_attention(
    Ctx& ctx, const Tensor& q, const PagedKv& kv, const PagedAttention& in, const Tensor& out);
void segment_attention(Ctx& ctx, const SegmentInputs& in, const Tensor& out);

}  // namespace quern::ops::cpu
