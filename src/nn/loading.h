// SPDX-License-Identifier: Apache-2.0
// What a Builder and its copies share. Private to the room's builder*.cc.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "nn/builder.h"
#include "nn/expert_memory.h"

namespace quern {

struct Builder::Loading {
  std::shared_ptr<const Checkpoint> checkpoint;
  Shard shard;
  bool has_weights;
  BuilderOptions options;
  std::shared_ptr<ExpertMemory> experts;   // null: all experts are loaded
  std::map<std::string, int64_t> kernels;  // bytes
  std::vector<LoadedWeight> weights, tables;
  double squared_change = 0, squared_weight = 0;  // by rounding
  std::atomic<int64_t> bytes{0};                  // in memory
  PagedExperts paged;
};

}  // namespace quern
