// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/half.h"
#include "ops/reference/reference.h"

namespace quern::ops::reference {
namespace {

// `scales`: of each row of codes.
float element(const Tensor& t, const Tensor& scales, int64_t index) {
  const auto scale = [&] { return scales.data<float>()[index / t.dim(3)]; };
  switch (t.dtype()) {
    case DType::f32:
      return t.data<float>()[index];
    case DType::bf16:
      return bf16_to_float(t.data<uint16_t>()[index]);
    case DType::f16:
      return f16_to_float(t.data<uint16_t>()[index]);
    case DType::i8:
      return static_cast<float>(t.data<int8_t>()[index]) * scale();
    default:
      return e4m3_to_float(t.data<uint8_t>()[index]) * scale();
  }
}

// K and V as lists of rows: key(j), value(j) are element offsets.
struct Keys {
  const PagedKv& kv;
  int64_t count;
  int64_t size, value_size;
};

// Softmax of scale * (q . k) over all keys, then the weighted sum of values.
template <typename Key, typename Value>
void attend(const float* q, const Keys& keys, Key key, Value value, float scale, float* out) {
  std::vector<double> weights(static_cast<size_t>(keys.count)),
      sums(static_cast<size_t>(keys.value_size));
  for (int64_t j = 0; j < keys.count; ++j) {
    double dot = 0;
    for (int64_t e = 0; e < keys.size; ++e)
      dot += double{q[e]} * element(keys.kv.k, keys.kv.k_scale, key(j) + e);
    weights[static_cast<size_t>(j)] = dot * scale;
  }
  const double largest = *std::ranges::max_element(weights);
  double total = 0;
  for (int64_t j = 0; j < keys.count; ++j) {
    const double weight = std::exp(weights[static_cast<size_t>(j)] - largest);
    total += weight;
    for (int64_t e = 0; e < keys.value_size; ++e)
      sums[static_cast<size_t>(e)] += weight * element(keys.kv.v, keys.kv.v_scale, value(j) + e);
  }
  for (int64_t e = 0; e < keys.value_size; ++e)
    out[e] = static_cast<float>(sums[static_cast<size_t>(e)] / total);
}

}  // namespace

void paged_attention(
    Ctx& ctx, const Tensor& q, const PagedKv& kv, const PagedAttention& in, const Tensor& out) {
  if (ctx.device.is_meta()) return;
  const int64_t heads = q.dim(1), size = q.dim(2), kv_heads = kv.k.dim(1), block_size = kv.k.dim(2);
  const auto sequences = static_cast<int64_t>(in.batch.context_lengths.size());
  ctx.pool->parallel_for(sequences * heads, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t s = item / heads, h = item % heads, g = h / (heads / kv_heads);
      const int32_t* table = in.batch.block_tables.data() + s * in.batch.blocks_per_row;
      const int64_t first = in.batch.offsets[static_cast<size_t>(s)],
                    last = in.batch.offsets[static_cast<size_t>(s) + 1];
      const auto at = [&](int64_t key) {
        const int64_t j = in.batch.first_key + key;
        return ((table[j / block_size] * kv_heads + g) * block_size + j % block_size) * size;
      };
      const auto value_at = [&](int64_t j) { return at(j) + size - in.value_size; };
      for (int64_t t = first; t < last; ++t) {
        const int64_t later = in.batch.is_causal ? last - t - 1 : 0;
        const int64_t count =
            in.batch.context_lengths[static_cast<size_t>(s)] - in.batch.first_key - later;
        attend(q.data<float>() + t * q.stride(0) + h * size,
               {kv, count, size, in.value_size},
               at,
               value_at,
               in.scale,
               out.data<float>() + (t * heads + h) * in.value_size);
      }
    }
  });
}

void segment_attention(Ctx& ctx, const SegmentInputs& in, const Tensor& out) {
  const int64_t heads = in.q.dim(1), size = in.q.dim(2), group = heads / in.k.dim(1);
  const auto segments = static_cast<int64_t>(in.sight.segments.size()) - 1;
  const PagedKv rows{in.k, in.v};
  ctx.pool->parallel_for(segments * heads, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t s = item / heads, h = item % heads, g = h / group;
      const int64_t first = in.sight.segments[static_cast<size_t>(s)],
                    last = in.sight.segments[static_cast<size_t>(s) + 1];
      const auto key = [&](int64_t j) { return (first + j) * in.k.stride(0) + g * size; };
      const auto value = [&](int64_t j) { return (first + j) * in.v.stride(0) + g * size; };
      for (int64_t p = first; p < last; ++p)
        attend(in.q.data<float>() + p * in.q.stride(0) + h * size,
               {rows, in.seen(p, first, last), size, size},
               key,
               value,
               in.scale,
               out.data<float>() + (p * heads + h) * size);
    }
  });
}

}  // namespace quern::ops::reference
