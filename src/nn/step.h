// SPDX-License-Identifier: Apache-2.0
// Step: what every layer of a decoder sees of one forward pass.
#pragma once

#include "cache/kv_cache.h"
#include "nn/batch.h"
#include "nn/rope.h"
#include "ops/attention.h"

namespace quern {

class Probe;

struct Step {
  const Batch& batch;
  KvCache& kv;
  RopeTables rope;
  Probe* probe = nullptr;  // null: nobody looks on

  ops::PagedBatch paged() const {
    return {batch.offsets, batch.context_lengths, batch.block_tables, batch.blocks_per_row};
  }
};

}  // namespace quern
