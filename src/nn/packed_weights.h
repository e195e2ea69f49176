// SPDX-License-Identifier: Apache-2.0
// What a Builder exchanges with a cache of packed weights.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ops/matmul.h"
#include "tensor/ctx.h"
#include "weights/packed_file.h"

namespace quern {

struct PackedWeights {
  std::shared_ptr<const PackedFile> stored;  // looked up before anything is packed; may be null
  // All that was loaded: its tensors are those of the model, which may not be written to.
  std::vector<PackedEntry> entries;
  bool is_new = false;  // some of it was not in `stored`

  // The weight [rows, cols] that is stored under `entry.name`, over the stored tensors, which
  // `entry` then holds; nothing is copied. Null, and noted as new, if there is no such, or if it is
  // not what the kernels of ctx expect (a warning says so).
  std::unique_ptr<ops::PackedWeight> restore(const Ctx& ctx,
                                             int64_t rows,
                                             int64_t cols,
                                             PackedEntry& entry);
};

}  // namespace quern
