// SPDX-License-Identifier: Apache-2.0
#include "ops/attention.h"

#include <algorithm>
#include <vector>

#include "ops/attention_inputs.h"
#include "ops/cpu/attention.h"
#include "ops/dispatch.h"
#include "ops/kv_rows.h"
#include "ops/reference/reference.h"
#include "ops/row_kernels.h"

namespace quern::ops {
namespace {

// [*, heads, E] with contiguous heads: a slice of a fused qkv qualifies.
bool is_head_rows(const Tensor& t) {
  return t.rank() == 3 && (t.dim(2) <= 1 || t.stride(2) == 1) &&
         (t.dim(1) <= 1 || t.stride(1) == t.dim(2));
}

void check_cache(const PagedKv& kv) {
  QUERN_CHECK(kv.k.rank() == 4 && kv.k.shape() == kv.v.shape() && kv.k.dtype() == kv.v.dtype(),
              "k {}, v {}",
              kv.k.shape().text(),
              kv.v.shape().text());
  const DType dtype = kv.k.dtype();
  const bool is_wide = dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16;
  QUERN_CHECK(
      is_wide || dtype == DType::i8 || dtype == DType::f8_e4m3, "a cache of {}", name_of(dtype));
  QUERN_CHECK(kv.k.is_contiguous() && kv.v.is_contiguous());
  if (is_wide) return;
  const Shape rows{kv.k.dim(0), kv.k.dim(1), kv.k.dim(2)};
  for (const Tensor* scale : {&kv.k_scale, &kv.v_scale})
    QUERN_CHECK(
        scale->defined() && is_f32(*scale) && scale->shape() == rows && scale->is_contiguous(),
        "codes of 8 bits {} without a scale for each row",
        kv.k.shape().text());
}

// A latent cache as kernels read it: values lie in the keys.
PagedKv as_both(const PagedKv& kv) {
  return {kv.k, kv.k, kv.k_scale, kv.k_scale};
}

// A bad table or length here would read foreign memory: the scheduler's bug, found before any
// kernel runs.
void check_batch(const PagedBatch& batch, int64_t rows, const PagedKv& kv) {
  const size_t sequences = batch.context_lengths.size();
  QUERN_CHECK(batch.offsets.size() == sequences + 1 && batch.offsets[0] == 0 &&
              batch.offsets[sequences] == rows);
  QUERN_CHECK(batch.block_tables.size() >= sequences * static_cast<size_t>(batch.blocks_per_row));
  const int64_t block_size = kv.k.dim(2);
  for (size_t s = 0; s < sequences; ++s) {
    const int64_t count = batch.offsets[s + 1] - batch.offsets[s],
                  context = batch.context_lengths[s],
                  own = batch.is_causal || count == 0 ? count : 1;
    QUERN_CHECK(
        count >= 0 && batch.first_key >= 0 && context >= own + (count > 0 ? batch.first_key : 0),
        "sequence {}: {} rows, context {} from position {} on",
        s,
        count,
        context,
        batch.first_key);
    const int64_t blocks = block_size > 0 ? (context + block_size - 1) / block_size : 0;
    QUERN_CHECK(blocks <= batch.blocks_per_row,
                "sequence {}: context {} in {} blocks of {}",
                s,
                context,
                batch.blocks_per_row,
                block_size);
    const auto table = batch.block_tables.subspan(s * static_cast<size_t>(batch.blocks_per_row),
                                                  static_cast<size_t>(blocks));
    for (const int32_t block : table)
      QUERN_CHECK(block >= 0 && block < kv.k.dim(0), "block {} of {}", block, kv.k.dim(0));
  }
}

void check_sight(const SegmentSight& sight, int64_t rows) {
  const auto segments = sight.segments, visible = sight.visible;
  QUERN_CHECK(!segments.empty() && segments.front() == 0 && segments.back() == rows &&
                  std::ranges::is_sorted(segments),
              "{} segment bounds for {} rows",
              segments.size(),
              rows);
  if (visible.empty()) return;
  QUERN_CHECK(
      static_cast<int64_t>(visible.size()) == rows, "what {} of {} rows see", visible.size(), rows);
  for (size_t s = 0; s + 1 < segments.size(); ++s)
    for (int32_t p = segments[s]; p < segments[s + 1]; ++p) {
      const int32_t seen = visible[static_cast<size_t>(p)];
      QUERN_CHECK(seen >= 1 && seen <= segments[s + 1] - segments[s],
                  "row {} sees {} of the {} rows of its segment",
                  p,
                  seen,
                  segments[s + 1] - segments[s]);
    }
}

// The CPU's table: the fast kernels where tier and shape allow, else the plain loops.
bool is_fast(const Ctx& ctx, int64_t group, int64_t size) {
  return ctx.isa >= Isa::avx2 && cpu::accepts_heads(group, size);
}

auto paged_kernel(const Ctx& ctx, int64_t group, int64_t size) {
  return is_fast(ctx, group, size) ? cpu::paged_attention : reference::paged_attention;
}

auto latent_kernel(const Ctx& ctx, int64_t heads, int64_t size) {
  const bool takes = ctx.isa >= Isa::avx2 && cpu::accepts_latent(heads, size);
  return takes ? cpu::latent_attention : reference::paged_attention;
}

auto segment_kernel(const Ctx& ctx, int64_t group, int64_t size) {
  return is_fast(ctx, group, size) ? cpu::segment_attention : reference::segment_attention;
}

}  // namespace

void store_kv_(
    Ctx& ctx, const Tensor& k, const Tensor& v, PagedKv& kv, std::span<const int32_t> slots) {
  check_cache(kv);
  QUERN_CHECK(is_head_rows(k) && is_head_rows(v) && is_f32(k) && is_f32(v) &&
                  k.shape() == v.shape() && k.dim(1) == kv.k.dim(1) && k.dim(2) == kv.k.dim(3),
              "k {}, v {}, cache {}",
              k.shape().text(),
              v.shape().text(),
              kv.k.shape().text());
  if (ctx.device.is_meta()) return;
  require_cpu(ctx, "store_kv_", kv.k.dtype());
  QUERN_CHECK(static_cast<int64_t>(slots.size()) == k.dim(0),
              "{} slots for {} rows",
              slots.size(),
              k.dim(0));
  const RowKernels& kernels = row_kernels(ctx.isa);
  const int64_t heads = k.dim(1), size = k.dim(2), capacity = kv.k.dim(0) * kv.k.dim(2);
  ctx.pool->parallel_for(
      k.dim(0), row_grain(2 * heads * size), [&](int64_t begin, int64_t end, int) {
        for (int64_t t = begin; t < end; ++t) {
          const int64_t slot = slots[static_cast<size_t>(t)];
          QUERN_CHECK(slot >= -1 && slot < capacity, "slot {} of {}", slot, capacity);
          for (int64_t g = 0; slot >= 0 && g < heads; ++g) {
            const float *key = k.data<float>() + t * k.stride(0) + g * size,
                        *value = v.data<float>() + t * v.stride(0) + g * size;
            const int64_t row = kv_row(kv.k, slot, g);
            store_kv_row(kernels, key, kv.k, kv.k_scale, row);
            store_kv_row(kernels, value, kv.v, kv.v_scale, row);
          }
        }
      });
}

void store_latent_(Ctx& ctx,
                   const Tensor& rope_key,
                   const Tensor& latent,
                   PagedKv& kv,
                   std::span<const int32_t> slots) {
  check_cache(as_both(kv));
  const auto is_rows = [&](const Tensor& t) {
    return t.rank() == 2 && is_f32(t) && (t.dim(1) <= 1 || t.stride(1) == 1);
  };
  QUERN_CHECK(is_rows(rope_key) && is_rows(latent) && rope_key.dim(0) == latent.dim(0) &&
                  kv.k.dim(1) == 1 && rope_key.dim(1) + latent.dim(1) == kv.k.dim(3),
              "rope key {}, latent {}, cache {}",
              rope_key.shape().text(),
              latent.shape().text(),
              kv.k.shape().text());
  if (ctx.device.is_meta()) return;
  require_cpu(ctx, "store_latent_", kv.k.dtype());
  QUERN_CHECK(static_cast<int64_t>(slots.size()) == latent.dim(0),
              "{} slots for {} rows",
              slots.size(),
              latent.dim(0));
  const RowKernels& kernels = row_kernels(ctx.isa);
  const int64_t size = kv.k.dim(3), capacity = kv.k.dim(0) * kv.k.dim(2);
  ctx.pool->parallel_for(latent.dim(0), row_grain(size), [&](int64_t begin, int64_t end, int) {
    std::vector<float> row(static_cast<size_t>(size));
    for (int64_t t = begin; t < end; ++t) {
      const int64_t slot = slots[static_cast<size_t>(t)];
      QUERN_CHECK(slot >= -1 && slot < capacity, "slot {} of {}", slot, capacity);
      if (slot < 0) continue;
      float* rest =
          std::copy_n(rope_key.data<float>() + t * rope_key.stride(0), rope_key.dim(1), row.data());
      std::copy_n(latent.data<float>() + t * latent.stride(0), latent.dim(1), rest);
      store_kv_row(kernels, row.data(), kv.k, kv.k_scale, slot);
    }
  });
}

Tensor paged_attention(
    Ctx& ctx, const Tensor& q, const PagedKv& kv, const PagedBatch& batch, float scale) {
  check_cache(kv);
  QUERN_CHECK(is_head_rows(q) && is_f32(q) && q.dim(2) == kv.k.dim(3) && kv.k.dim(1) > 0 &&
                  q.dim(1) % kv.k.dim(1) == 0,
              "q {}, cache {}",
              q.shape().text(),
              kv.k.shape().text());
  const Tensor out = ctx.empty({q.dim(0), q.dim(1) * q.dim(2)});
  if (!ctx.device.is_meta()) {
    require_cpu(ctx, "paged_attention", kv.k.dtype());
    check_batch(batch, q.dim(0), kv);
  }
  if (out.numel() > 0)
    paged_kernel(ctx, q.dim(1) / kv.k.dim(1), q.dim(2))(ctx, q, kv, {batch, scale, q.dim(2)}, out);
  return out;
}

Tensor latent_attention(Ctx& ctx,
                        const Tensor& q,
                        const PagedKv& kv,
                        const PagedBatch& batch,
                        float scale,
                        int64_t value_size) {
  const PagedKv both = as_both(kv);
  check_cache(both);
  QUERN_CHECK(is_head_rows(q) && is_f32(q) && q.dim(2) == kv.k.dim(3) && kv.k.dim(1) == 1 &&
                  0 <= value_size && value_size <= q.dim(2),
              "q {}, cache {}, values of {}",
              q.shape().text(),
              kv.k.shape().text(),
              value_size);
  const Tensor out = ctx.empty({q.dim(0), q.dim(1) * value_size});
  if (!ctx.device.is_meta()) {
    require_cpu(ctx, "latent_attention", kv.k.dtype());
    check_batch(batch, q.dim(0), kv);
  }
  if (out.numel() > 0)
    latent_kernel(ctx, q.dim(1), q.dim(2))(ctx, q, both, {batch, scale, value_size}, out);
  return out;
}

Tensor segment_attention(Ctx& ctx,
                         const Tensor& q,
                         const Tensor& k,
                         const Tensor& v,
                         std::span<const int32_t> segments,
                         float scale) {
  return segment_attention(ctx, q, k, v, SegmentSight{segments}, scale);
}

Tensor segment_attention(Ctx& ctx,
                         const Tensor& q,
                         const Tensor& k,
                         const Tensor& v,
                         const SegmentSight& sight,
                         float scale) {
  QUERN_CHECK(
      is_head_rows(q) && is_head_rows(k) && is_head_rows(v) && is_f32(q) && is_f32(k) && is_f32(v),
      "q {}, k {}, v {}",
      q.shape().text(),
      k.shape().text(),
      v.shape().text());
  QUERN_CHECK(k.shape() == v.shape() && q.dim(0) == k.dim(0) && q.dim(2) == k.dim(2) &&
                  k.dim(1) > 0 && q.dim(1) % k.dim(1) == 0,
              "q {}, k {}, v {}",
              q.shape().text(),
              k.shape().text(),
              v.shape().text());
  const Tensor out = ctx.empty({q.dim(0), q.dim(1) * q.dim(2)});
  if (ctx.device.is_meta()) return out;
  require_cpu(ctx, "segment_attention", q.dtype());
  check_sight(sight, q.dim(0));
  if (out.numel() == 0) return out;
  segment_kernel(ctx, q.dim(1) / k.dim(1), q.dim(2))(ctx, {q, k, v, sight, scale}, out);
  return out;
}

}  // namespace quern::ops
