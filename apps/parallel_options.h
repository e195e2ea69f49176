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
  std::string data_parallel_routing = "prefix";  // or round-robin
  std::vector<double> tensor_parallel_split;  // proportions, one a tensor rank; empty: equal
  std::string on_worker_loss = "resume";      // or fail
  int worker_timeout_s = 300;
  std::string rank_transport = "auto";  // or shm, tcp
  int nnodes = 1, node_rank = 0;
  std::vector<int> node_ranks;          // how many ranks each machine has; empty: equal parts
  int replan_after_s = 60;              // what a lost machine is waited for; 0: never without it
  std::string head_addr;                // HOST:PORT
  std::string node_addr;                // of this machine, for its ranks
  std::string cluster_secret_file;      // shared by all machines
  bool copy_model = false;              // on a further machine without the model: from the head
  std::string executor_backend = "mp";  // who starts ranks: mp (or uni, the same), ray

  int world() const { return tensor_parallel_size * pipeline_parallel_size; }
  // More than the one rank that is a thread of this process.
  bool has_workers() const { return world() > 1 || nnodes > 1; }
  // Throws invalid_argument or unsupported naming the flag.
  void validate_parallel() const;

 private:
  void validate_node_ranks() const;
};

void add_parallel_options(CLI::App& command, ParallelOptions& options);
// Of them, which machine of how many this is, and how it reaches the head.
void add_place_options(CLI::App& command, ParallelOptions& options);

}  // namespace quern
