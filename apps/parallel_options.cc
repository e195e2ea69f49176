// SPDX-License-Identifier: Apache-2.0
#include "parallel_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "base/error.h"
#include "base/format.h"
#include "launcher_environment.h"

namespace quern {
namespace {

constexpr const char* kGroup = "Parallelism";  // in --help
constexpr int kMaxRanks = 64;
constexpr int kHeadPort = 29'500;  // where the launcher names a host alone

void add_sizes(CLI::App& command, ParallelOptions& o) {
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
                  "replicas (-dp) behind one address; each takes its part of the cores, and "
                  "requests go where their beginning is cached (serve)")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, kMaxRanks));
}

// Puts what a launcher says in the place of "auto", before other flags are read; an error's text.
std::string take_launcher(ParallelOptions& o, std::string& nnodes) {
  if (nnodes != "auto") return "";
  const auto place = launch_place([](const char* name) { return std::getenv(name); });
  if (!place) return "auto: neither Slurm, mpirun nor LeaderWorkerSet started this process";
  nnodes = format("{}", place->count);
  o.node_rank = place->number;
  if (!place->head_host.empty()) o.head_addr = format("{}:{}", place->head_host, kHeadPort);
  return "";
}

void add_replica_options(CLI::App& command, ParallelOptions& o) {
  command
      .add_option("--data-parallel-routing",
                  o.data_parallel_routing,
                  "prefix: to the replica that has seen a request's beginning, else the idlest; or "
                  "round-robin")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::IsMember({"prefix", "round-robin"}));
}

void add_starter_options(CLI::App& command, ParallelOptions& o) {
  command
      .add_option("--distributed-executor-backend",
                  o.executor_backend,
                  "who starts ranks: mp (this process, and those of --nnodes) or ray (serve: over "
                  "the machines of a Ray cluster); every rank is a process either way")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::IsMember({"mp", "ray", "uni"}));
  command
      .add_option("--rank-transport",
                  o.rank_transport,
                  "how ranks meet: shm (on one machine), tcp, or auto (shm where they can)")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "shm", "tcp"}));
  command
      .add_flag("--copy-model",
                o.copy_model,
                "on a further machine where there is no MODEL (a path): copy the head's, hash by "
                "hash; a copy that was broken off goes on")
      ->group(kGroup);
  command
      .add_option("--node-ranks",
                  o.node_ranks,
                  "how many ranks each machine has (2,1,1; the head may have 0); equal parts "
                  "without it")
      ->group(kGroup)
      ->delimiter(',')
      ->check(CLI::Range(0, kMaxRanks));
}

void add_loss_options(CLI::App& command, ParallelOptions& o) {
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
  command
      .add_option("--replan-after",
                  o.replan_after_s,
                  "seconds that a lost machine is waited for before its ranks are dealt out to the "
                  "others, if the model fits them; 0: they wait and give up")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(0, 86400));
}

}  // namespace

void add_place_options(CLI::App& command, ParallelOptions& o) {
  command
      .add_option("--nnodes",
                  o.nnodes,
                  "machines; the same command is started on each. auto: as Slurm, mpirun or "
                  "LeaderWorkerSet say, --node-rank and the head's host likewise")
      ->group(kGroup)
      ->capture_default_str()
      ->transform(CLI::Validator([&o](std::string& text) { return take_launcher(o, text); }, ""))
      ->check(CLI::Range(1, kMaxRanks));
  command
      .add_option("--node-rank",
                  o.node_rank,
                  "which of them this is; 0 is the head, which answers requests")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(0, kMaxRanks - 1));
  command
      .add_option("--head-addr,--master-addr",
                  o.head_addr,
                  "HOST:PORT of the head, where ranks come; it is bound as given")
      ->group(kGroup);
  command
      .add_option(
          "--node-addr",
          o.node_addr,
          "this machine's address for the ranks of others; default: the head's on the head, "
          "elsewhere the one that reaches it")
      ->group(kGroup);
  command
      .add_option("--cluster-secret-file",
                  o.cluster_secret_file,
                  "what all machines of a launch know; a file that nobody else may read")
      ->group(kGroup);
}

void add_parallel_options(CLI::App& command, ParallelOptions& o) {
  add_sizes(command, o);
  add_replica_options(command, o);
  add_starter_options(command, o);
  add_place_options(command, o);
  add_loss_options(command, o);
}

void ParallelOptions::validate_node_ranks() const {
  if (node_ranks.empty()) return;
  if (node_ranks.size() != static_cast<size_t>(nnodes))
    fail(ErrorCode::invalid_argument,
         "--node-ranks: expected {} numbers, one for each machine of --nnodes, got {}",
         nnodes,
         node_ranks.size());
  if (const int all = std::accumulate(node_ranks.begin(), node_ranks.end(), 0); all != world())
    fail(ErrorCode::invalid_argument,
         "--node-ranks: {} ranks in all, but --tensor-parallel-size x --pipeline-parallel-size are "
         "{}",
         all,
         world());
  if (std::find(node_ranks.begin() + 1, node_ranks.end(), 0) != node_ranks.end())
    fail(ErrorCode::invalid_argument,
         "--node-ranks: only the head may have no rank; leave the machine out of --nnodes");
}

void ParallelOptions::validate_parallel() const {
  if (data_parallel_size > 1 && nnodes > 1)
    fail(ErrorCode::unsupported,
         "--data-parallel-size {}: replicas over several machines are placed by "
         "--distributed-executor-backend ray, not by --nnodes",
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
  if (node_rank >= nnodes)
    fail(ErrorCode::invalid_argument,
         "--node-rank {}: with --nnodes {} there are ranks 0 to {}",
         node_rank,
         nnodes,
         nnodes - 1);
  validate_node_ranks();
  if (node_ranks.empty() && nnodes > world())
    fail(ErrorCode::invalid_argument,
         "--nnodes {}: {} ranks (--tensor-parallel-size x --pipeline-parallel-size) leave machines "
         "without one",
         nnodes,
         world());
  if (nnodes > 1 && head_addr.empty())
    fail(ErrorCode::invalid_argument, "--nnodes {}: --head-addr HOST:PORT is needed", nnodes);
}

}  // namespace quern
