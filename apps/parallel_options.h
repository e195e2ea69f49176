// SPDX-License-Identifier: Apache-2.0
// The flags of tensor and pipeline parallelism, on one machine and on several.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace quern {

struct ParallelOptions {
  int tensor_parallel_size = 1, pipeline_parallel_size = 1, data_parallel_size = 1;
  std::vector<double> tensor_parallel_split;  // proportions, one a tensor rank; empty: equal
  std::string on_worker_loss = "resume";      // or fail
  int worker_timeout_s = 300;
  std::string rank_transport = "auto";  // or shm, tcp
  int nnodes = 1, node_rank = 0;
  std::string head_addr;            // HOST:PORT
  std::string node_addr;            // of this machine, for its ranks
  std::string cluster_secret_file;  // shared by all machines

  int world() const { return tensor_parallel_size * pipeline_parallel_size; }
  // More than the one rank that is a thread of this process.
  bool has_workers() const { return world() > 1 || nnodes > 1; }
  // Throws invalid_argument or unsupported naming the flag.
  void validate_parallel() const;
};

void add_parallel_options(CLI::App& command, ParallelOptions& options);

}  // namespace quern
