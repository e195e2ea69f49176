// SPDX-License-Identifier: Apache-2.0
#include "cache/kv_cache.h"

#include <limits>

#include "base/error.h"

namespace quern {
namespace {

constexpr int64_t kMaxLayers = 4096, kMaxHeads = 65536, kMaxHeadSize = 65536;
constexpr int64_t kMaxBytes = int64_t{1} << 56;  // beyond any machine; sums of it do not overflow

void check_spec(const KvSpec& spec) {
  if (spec.dtype != DType::f32 && spec.dtype != DType::bf16 && spec.dtype != DType::i8 &&
      spec.dtype != DType::f8_e4m3)
    fail(ErrorCode::unsupported,
         "KV cache: rows of {}: this build keeps f32, bf16, i8 and f8_e4m3",
         name_of(spec.dtype));
  if (spec.groups.size() > kMaxLayers)
    fail(ErrorCode::invalid_argument, "KV cache: {} groups", spec.groups.size());
  for (const KvGroup& g : spec.groups) {
    const bool has_heads = g.kind != KvKind::paged || (g.kv_heads >= 0 && g.kv_heads <= kMaxHeads);
    if (g.layers < 0 || g.layers > kMaxLayers || g.head_size < 0 || g.head_size > kMaxHeadSize ||
        !has_heads)
      fail(ErrorCode::invalid_argument,
           "KV cache: a group of {} layers, {} heads, {} elements: out of bounds",
           g.layers,
           g.kv_heads,
           g.head_size);
  }
}

// A slot (block * block_size + offset) is an int32.
void check_size(const KvSpec& spec, int64_t num_blocks, int block_size) {
  if (block_size < 1 || block_size > 4096)
    fail(ErrorCode::invalid_argument, "KV cache: block size {}: expected 1 to 4096", block_size);
  const int64_t most = std::numeric_limits<int32_t>::max() / block_size;
  if (num_blocks < 0 || num_blocks > most)
    fail(ErrorCode::invalid_argument,
         "KV cache: {} blocks of {} tokens: expected 0 to {}",
         num_blocks,
         block_size,
         most);
  if (const int64_t each = spec.bytes_per_token();
      each > 0 && num_blocks * block_size > kMaxBytes / each)
    fail(ErrorCode::exhausted,
         "KV cache: {} blocks of {} tokens at {} bytes each do not fit in any memory; lower the "
         "number of blocks",
         num_blocks,
         block_size,
         each);
}

int64_t bytes_of(const PagedKv& layer) {
  int64_t bytes = 0;
  for (const Tensor* each : {&layer.k, &layer.v, &layer.k_scale, &layer.v_scale})
    bytes += each->defined() ? each->bytes() : 0;
  return bytes;
}

}  // namespace

KvCache::KvCache(const KvSpec& spec, int64_t num_blocks, int block_size, Device device)
    : num_blocks_(num_blocks), block_size_(block_size) {
  check_spec(spec);
  check_size(spec, num_blocks, block_size);
  layers_.reserve(static_cast<size_t>(spec.layers()));
  const auto rows = [&](int64_t heads, int64_t head_size) {
    return Tensor::empty({num_blocks, heads, block_size, head_size}, spec.dtype, device);
  };
  const auto scales = [&](int64_t heads) {
    return is_quantized(spec.dtype)
               ? Tensor::empty({num_blocks, heads, block_size}, DType::f32, device)
               : Tensor();
  };
  try {
    for (const KvGroup& g : spec.groups)
      for (int i = 0; i < g.layers; ++i) {
        PagedKv layer;
        if (g.kind == KvKind::paged)
          layer = {rows(g.kv_heads, g.head_size),
                   rows(g.kv_heads, g.head_size),
                   scales(g.kv_heads),
                   scales(g.kv_heads)};
        if (g.kind == KvKind::latent) layer = {rows(1, g.head_size), {}, scales(1), {}};
        layers_.push_back(std::move(layer));
      }
  } catch (const Error& e) {
    fail(e.code(),
         "KV cache: {} blocks of {} tokens, {} bytes in all: {}; lower the number of blocks",
         num_blocks,
         block_size,
         num_blocks * block_size * spec.bytes_per_token(),
         e.what());
  }
}

PagedKv& KvCache::layer(int layer) {
  QUERN_CHECK(layer >= 0 && static_cast<size_t>(layer) < layers_.size(),
              "layer {} of {}",
              layer,
              layers_.size());
  return layers_[static_cast<size_t>(layer)];
}

int64_t KvCache::bytes() const {
  int64_t bytes = 0;
  for (const PagedKv& layer : layers_) bytes += bytes_of(layer);
  return bytes;
}

}  // namespace quern
