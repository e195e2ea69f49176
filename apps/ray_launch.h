// SPDX-License-Identifier: Apache-2.0
// `quern serve --distributed-executor-backend ray`: this process becomes the launcher
// `python -m quern.ray` (python/quern/ray.py), which finds places for ranks in a Ray cluster and
// starts this program there again, as head and nodes of an ordinary launch. Ray carries no token.
#pragma once

#include <string>

#include "model_options.h"

namespace CLI {
class App;
}

namespace quern {

struct RayOptions {
  std::string address = "auto";   // HOST:PORT, auto (the cluster of this machine), local
  std::string strategy = "pack";  // or spread: a machine for each rank, as far as there are some
  double cpus_per_rank = 1, gpus_per_rank = 0;
  int wait_s = 60;  // for places in the cluster
};

void add_ray_options(CLI::App& command, RayOptions& options);

// Whether this process was started by the launcher.
bool is_under_ray();
// Returns only by throwing: invalid_argument for flags that Ray decides, unsupported where there is
// no Python to run.
[[noreturn]] void become_ray_launcher(const ModelOptions& model, const RayOptions& options);

}  // namespace quern
