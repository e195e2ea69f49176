// SPDX-License-Identifier: Apache-2.0
// KvCache: the tensors that block ids point into, for this rank's heads. One block id covers the
// same tokens in every layer.
#pragma once

#include <cstdint>
#include <vector>

#include "cache/kv_spec.h"
#include "tensor/device.h"
#include "tensor/paged_kv.h"

namespace quern {

class KvCache {
 public:
  // Allocates all layers at once; on meta only shapes. Throws exhausted with the numbers,
  // unsupported for a kind that this build does not keep.
  KvCache(const KvSpec& spec, int64_t num_blocks, int block_size, Device device);

  // K and V of decoder layer `layer`, [num_blocks, G, block_size, E] each, codes of 8 bits with
  // their scales (tensor/paged_kv.h); latent: k alone, G = 1; none: both undefined.
  PagedKv& layer(int layer);
  int64_t num_blocks() const { return num_blocks_; }
  int block_size() const { return block_size_; }
  int64_t bytes() const;

 private:
  std::vector<PagedKv> layers_;
  int64_t num_blocks_;
  int block_size_;
};

}  // namespace quern
