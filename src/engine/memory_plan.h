// SPDX-License-Identifier: Apache-2.0
// MemoryPlan: what serving a model takes, from its own constructor and forward pass on
// Device::meta. Exactly these sizes are allocated afterwards.
#pragma once

#include <cstdint>
#include <string>

#include "engine/engine.h"
#include "nn/model.h"

namespace quern {

// Routed experts of a rank that may lie in the file until tokens choose them, as packed.
struct ExpertBytes {
  int64_t file_bytes = 0, held_bytes = 0;
  bool are_held() const { return held_bytes >= file_bytes; }  // all of them
};

struct MemoryPlan {
  int64_t budget_bytes = 0;
  int64_t weight_bytes = 0;  // packed, with the experts that are held
  ExpertBytes experts;       // nothing where the model was built with all of them
  int64_t arena_bytes =
      0;  // scratch of one rank: the largest step, or the largest picture's tower pass
  int64_t media_bytes =
      0;  // encoded pictures between steps: one step's budget and two of the largest
  int64_t logits_bytes = 0;  // rows on their way to the sampler, or to be pooled
  int64_t kv_bytes = 0;
  int64_t num_blocks = 0;
  int64_t block_bytes = 0;  // of one block over all layers
  int64_t kv_tokens = 0;    // num_blocks * block_size

  int64_t total_bytes() const {
    return weight_bytes + arena_bytes + media_bytes + logits_bytes + kv_bytes;
  }
  // One line per part, with its share of the budget.
  std::string table() const;
};

// What is planned for.
struct PlanSubject {
  const Model& model;  // constructed on meta
  const Ctx& ctx;  // meta, with the ISA and activation of the run: both decide what is packed and
                   // what scratch is taken
  const KvSpec& kv_spec;  // the model's, with the element type of the run
  const MediaInput*
      largest;  // the biggest picture that will be taken (its grid; no values); null for none
  ExpertBytes experts = {};  // that are not among the model's own bytes
};

// config.num_blocks > 0 is taken as it is; else as many blocks as fit into budget_bytes, but no
// more than max_num_seqs sequences of max_model_len fill. Throws exhausted if not even one sequence
// of max_model_len fits, with the numbers and the smallest change that would.
MemoryPlan plan_memory(const PlanSubject& subject,
                       const EngineConfig& config,
                       int64_t budget_bytes);

}  // namespace quern
