// SPDX-License-Identifier: Apache-2.0
// Simulator: servers of one model under a virtual clock: the engine's own scheduler and cache, and
// instead of a model the time that its steps would take.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/engine.h"
#include "plan/step_cost.h"

namespace quern {

struct SimulatedRequest {
  double at_s = 0;
  int64_t input_tokens = 0, output_tokens = 0;
  // Of the input, so many tokens are those of all requests with the same prefix.
  int64_t prefix_tokens = 0;
  uint64_t prefix = 0;
};

struct SimulationOptions {
  EngineConfig engine;  // num_blocks is needed
  StepCost cost;
  int replicas = 1;
  double request_s = 0;   // that a request takes besides steps, in front of its first token
  double failure_s = 0;   // mean time between losses of a replica's workers; 0: none
  double recovery_s = 0;  // until they are replaced; streams go on then
  uint64_t seed = 0;      // of failures
};

// Seconds of the virtual clock.
struct SimulatedAnswer {
  double at_s = 0, first_s = 0, end_s = 0;
  int64_t output_tokens = 0;
};

struct SimulationResult {
  std::vector<SimulatedAnswer> answers;  // as the requests were
  double duration_s = 0;                 // until the last end
  double busy_share = 0;                 // of all replicas' time in steps
  double most_blocks_share = 0;          // of a cache in use at one time
  int64_t steps = 0, preemptions = 0, failures = 0, cached_tokens = 0;
};

// Requests ascend in time; each goes to the replica with the fewest unfinished ones. Throws
// invalid_argument for one that can never run.
SimulationResult simulate(const SimulationOptions& options,
                          const std::vector<SimulatedRequest>& requests);

}  // namespace quern
