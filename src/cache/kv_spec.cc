// SPDX-License-Identifier: Apache-2.0
#include "cache/kv_spec.h"

namespace quern {
namespace {

// One row of `elements` elements, with its scale where the kind needs one.
int64_t row_bytes(DType dtype, int64_t elements) {
  return bytes_of(dtype, elements) + (is_quantized(dtype) ? int64_t{sizeof(float)} : 0);
}

}  // namespace

bool is_quantized(DType dtype) {
  return bits_of(dtype) <= 8;
}

int64_t KvSpec::bytes_per_token() const {
  int64_t bytes = 0;
  for (const KvGroup& g : groups) {
    if (g.kind == KvKind::paged) bytes += g.layers * 2 * g.kv_heads * row_bytes(dtype, g.head_size);
    if (g.kind == KvKind::latent) bytes += g.layers * row_bytes(dtype, g.head_size);
  }
  return bytes;
}

int KvSpec::layers() const {
  int count = 0;
  for (const KvGroup& g : groups) count += g.layers;
  return count;
}

}  // namespace quern
