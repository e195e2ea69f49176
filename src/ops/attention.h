// SPDX-License-Identifier: Apache-2.0
// Attention in the flash style: no T x T buffer; softmax runs over key blocks at fixed absolute
// positions, combined in fixed order, so a query row has the same bits whatever its company, chunk,
// block size and thread. Dao et al. 2022.
#pragma once

#include <span>

#include "tensor/ctx.h"
#include "tensor/paged_kv.h"

namespace quern::ops {

// Which rows belong together in one step (see Batch for the letters).
struct PagedBatch {
  std::span<const int32_t> offsets;          // [S + 1]
  std::span<const int32_t> context_lengths;  // [S]
  std::span<const int32_t> block_tables;     // [S, blocks_per_row]
  int32_t blocks_per_row = 0;
  // Keys before this position are not seen: an encoder's rows may stand there (cross-attention over
  // them is a batch of its own, with their number as context length).
  int32_t first_key = 0;
  bool is_causal = true;  // else every row of a sequence sees all context_lengths[s] positions
};

// Writes k, v [T, G, E] float32 (last two axes contiguous) to slots [T] = block * block_size +
// offset; slot -1 is skipped.
void store_kv_(
    Ctx& ctx, const Tensor& k, const Tensor& v, PagedKv& kv, std::span<const int32_t> slots);

// q [T, H, E] float32 (last two axes contiguous), H a multiple of G -> [T, H * E]. Causal, unless
// the batch says otherwise: step row offsets[s] + i of sequence s stands at position
// context_lengths[s] - (rows of s) + i and sees positions from first_key up to its own.
Tensor paged_attention(
    Ctx& ctx, const Tensor& q, const PagedKv& kv, const PagedBatch& batch, float scale);

// Multi-head latent attention (DeepSeek-V2, 2024): one row per token, [R + V], serves every head as
// key, and its last V elements as value. The cache keeps it as k alone, G = 1.
//
// Writes rope_key [T, R] and latent [T, V] float32 (rows contiguous) side by side to slots [T].
void store_latent_(Ctx& ctx,
                   const Tensor& rope_key,
                   const Tensor& latent,
                   PagedKv& kv,
                   std::span<const int32_t> slots);

// q [T, H, R + V] float32 -> [T, H * V]; causal as paged_attention is.
Tensor latent_attention(Ctx& ctx,
                        const Tensor& q,
                        const PagedKv& kv,
                        const PagedBatch& batch,
                        float scale,
                        int64_t value_size);

// Full attention inside each segment [segments[i], segments[i + 1]) of rows: towers. q [P, H, E],
// k, v [P, G, E] -> [P, H * E].
Tensor segment_attention(Ctx& ctx,
                         const Tensor& q,
                         const Tensor& k,
                         const Tensor& v,
                         std::span<const int32_t> segments,
                         float scale);

// Which rows see which: those of their own segment, all of them or the first few.
struct SegmentSight {
  std::span<const int32_t> segments;  // [S + 1]
  // [P], or empty for all: row p sees the first visible[p] rows of its segment, 1 up to all of them
  // (a mask of blocks).
  std::span<const int32_t> visible = {};
};
Tensor segment_attention(Ctx& ctx,
                         const Tensor& q,
                         const Tensor& k,
                         const Tensor& v,
                         const SegmentSight& sight,
                         float scale);

}  // namespace quern::ops
