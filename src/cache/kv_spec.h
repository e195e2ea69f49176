// SPDX-License-Identifier: Apache-2.0
// KvSpec: what a model keeps per token and per request. A list, because one model may mix kinds.
// (It lies in `cache`, below `nn`, because KvCache is built from it.)
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/dtype.h"

namespace quern {

enum class KvKind : uint8_t {
  paged,   // K and V per token and KV head
  latent,  // one latent row per token, no V (MLA)
  none,    // a layer without state
};

// `layers` consecutive layers with the same state. Sizes are of this rank's part.
struct KvGroup {
  KvKind kind = KvKind::paged;
  int layers = 0;
  int64_t kv_heads = 0;   // paged
  int64_t head_size = 0;  // K and V elements per head; latent: elements per token
};

// True for the element types of at most 8 bits: their rows carry a scale.
bool is_quantized(DType dtype);

struct KvSpec {
  std::vector<KvGroup> groups;
  // Element type of the stored rows. A quantized type carries one float32 scale per token and head,
  // never per block, so that a row does not depend on its neighbours.
  DType dtype = DType::f32;

  // Bytes of one token over all layers, scales included.
  int64_t bytes_per_token() const;
  int layers() const;
};

}  // namespace quern
