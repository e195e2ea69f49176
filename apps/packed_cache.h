// SPDX-License-Identifier: Apache-2.0
// The cache of packed weights behind --packed-cache: where it lies, what its files are keyed by,
// and what is said of it. Nothing that goes wrong with it keeps a model from loading.
#pragma once

#include "model_options.h"
#include "nn/packed_weights.h"
#include "weights/checkpoint.h"
#include "weights/packed_store.h"

namespace quern {

class PackedCache {
 public:
  // For the weights of `checkpoint`, opened from `path`, packed for the tier, activation and head
  // option given. Maps what is stored.
  PackedCache(const ModelOptions& options,
              const Checkpoint& checkpoint,
              const std::string& path,
              const Ctx& ctx);

  // For BuilderOptions.
  PackedWeights* weights() { return &weights_; }
  // Writes what was loaded, if any of it is new. A failure is a warning.
  void keep(ThreadPool& pool);

 private:
  PackedStore store_;
  Hash128 key_;
  PackedWeights weights_;
};

}  // namespace quern
