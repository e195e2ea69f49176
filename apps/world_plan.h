// SPDX-License-Identifier: Apache-2.0
// What a model is served with: what was chosen for this machine, and the memory plan of each rank.
#pragma once

#include <optional>
#include <vector>

#include "base/topology.h"
#include "loaded_model.h"
#include "nn/builder.h"
#include "worker_job.h"

namespace quern {

struct Choice {
  Topology machine;
  Isa isa;
  Activation activation;
  DType kv_dtype;
  int threads;
  int64_t budget;  // bytes
  BuilderOptions building;
  std::optional<ChosenPooling> pooling;  // of a model that is served for its vectors
};

Choice choose(const ModelOptions& options);

// The plans of all ranks, and what they have in common.
struct WorldPlan {
  EngineConfig config;
  std::vector<MemoryPlan> ranks;
  KvSpec spec;  // of rank 0
  ModelInfo info;
};

// Every rank built and run on meta. Settles what is "auto": lengths, the number of KV blocks, and
// how much of a mixture's experts is held. Throws exhausted where it does not fit.
WorldPlan plan_world(const OpenedModel& opened, const ModelOptions& options, const Choice& choice);

}  // namespace quern
