// SPDX-License-Identifier: Apache-2.0
// The cache of packed weights behind --packed-cache: where it lies, what its files are keyed by,
// and what is said of it. Nothing that goes wrong with it keeps a model from loading.
#pragma once

#include <atomic>
#include <thread>
#include <vector>

#include "model_options.h"
#include "nn/packed_weights.h"
#include "nn/pooling.h"
#include "weights/checkpoint.h"
#include "weights/packed_store.h"

namespace quern {

class PackedCache {
 public:
  // For the weights of `checkpoint`, opened from `path`, packed for the tier, activation, head
  // option and output given. Maps what is stored.
  PackedCache(const ModelOptions& options,
              const Checkpoint& checkpoint,
              const std::string& path,
              const Ctx& ctx,
              Output output);
  ~PackedCache();  // waits until all is written

  // For BuilderOptions.
  PackedWeights* weights() { return &weights_; }
  // Once all is loaded: writes it if any of it is new, behind the back of a model that answers
  // already. A disk may take minutes for a large one. A failure is a warning.
  void keep();

 private:
  void write(const std::vector<PackedEntry>& entries) const;

  PackedStore store_;
  Hash128 key_;
  PackedWeights weights_;
  std::atomic<bool> is_writing_ = false;
  std::thread writer_;
};

}  // namespace quern
