// SPDX-License-Identifier: Apache-2.0
#include "parallel_options.h"

#include <CLI/CLI.hpp>

#include "base/error.h"

namespace quern {
namespace {

constexpr int kMaxRanks = 64;

void add_sizes(CLI::App& command, ParallelOptions& o) {
  constexpr const char* kGroup = "Parallelism";
  command
      .add_option("--tensor-parallel-size",
                  o.tensor_parallel_size,
                  "ranks that share every layer (-tp): any number; each is a process")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, kMaxRanks));
  command
      .add_option("--tensor-parallel-split",
                  o.tensor_parallel_split,
                  "how much each of them takes (2,1,1); equal parts without it")
      ->group(kGroup)
      ->delimiter(',')
      ->check(CLI::Range(1e-3, 1e6));
  command
      .add_option("--pipeline-parallel-size",
                  o.pipeline_parallel_size,
                  "stages of layers, one behind the other (-pp), for slow links")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, kMaxRanks));
  command
      .add_option("--data-parallel-size",
                  o.data_parallel_size,
                  "replicas (-dp): one; start further servers behind a balancer instead")
      ->group(kGroup)
      ->check(CLI::Range(1, kMaxRanks));
}

void add_loss_options(CLI::App& command, ParallelOptions& o) {
  constexpr const char* kGroup = "Parallelism";
  command
      .add_option("--on-worker-loss",
                  o.on_worker_loss,
                  "what becomes of running requests when a worker is lost: resume (they go on with "
                  "the same tokens on new workers) or fail")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::IsMember({"resume", "fail"}));
  command
      .add_option("--worker-timeout",
                  o.worker_timeout_s,
                  "seconds after which a step that gets no further is given up; a worker that is "
                  "stopped or gone is noticed after 3")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 86400));
}

}  // namespace

void add_parallel_options(CLI::App& command, ParallelOptions& o) {
  add_sizes(command, o);
  add_loss_options(command, o);
}

void ParallelOptions::validate_parallel() const {
  if (data_parallel_size != 1)
    fail(ErrorCode::unsupported,
         "--data-parallel-size {}: one server runs one replica; start {} servers on ports of their "
         "own and put a balancer in front (GET /ready says who may be asked)",
         data_parallel_size,
         data_parallel_size);
  if (world() > kMaxRanks)
    fail(ErrorCode::invalid_argument,
         "--tensor-parallel-size {} x --pipeline-parallel-size {}: at most {} ranks",
         tensor_parallel_size,
         pipeline_parallel_size,
         kMaxRanks);
  if (!tensor_parallel_split.empty() &&
      tensor_parallel_split.size() != static_cast<size_t>(tensor_parallel_size))
    fail(ErrorCode::invalid_argument,
         "--tensor-parallel-split: expected {} numbers, one for each rank of "
         "--tensor-parallel-size, got {}",
         tensor_parallel_size,
         tensor_parallel_split.size());
}

}  // namespace quern
