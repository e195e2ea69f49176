// SPDX-License-Identifier: Apache-2.0
// The flags that say in which order, how fast and how long requests run, under vLLM's names.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/engine.h"

namespace CLI {
class App;
}

namespace quern {

struct SchedulingOptions {
  std::string policy = "fcfs";  // or priority
  std::string long_prefill_token_threshold = "0";
  int max_queue = 1024;
  int64_t request_timeout_s = 0;
  int64_t step_timeout_s = 1800;
  SpeculationConfig speculation;

  void apply(EngineConfig& config) const;
};

void add_scheduling_options(CLI::App& command, SchedulingOptions& options);

// {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4, "prompt_lookup_min": 1}.
// Throws invalid_argument or unsupported naming the key.
SpeculationConfig parse_speculation(std::string_view json);

}  // namespace quern
