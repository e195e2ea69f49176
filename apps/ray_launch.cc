// SPDX-License-Identifier: Apache-2.0
#include "ray_launch.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "command_line.h"

namespace quern {
namespace {

// Set by the launcher for what it starts.
constexpr const char* kUnderRay = "QUERN_UNDER_RAY";

// The Python beside this program, as in a virtual environment; else the one on PATH.
std::string python_of(const std::filesystem::path& program) {
  const std::filesystem::path beside = program.parent_path() / "python3";
  return std::filesystem::exists(beside) ? beside.string() : "python3";
}

}  // namespace

void add_ray_options(CLI::App& command, RayOptions& o) {
  constexpr const char* kGroup = "Ray";
  command
      .add_option("--ray-address",
                  o.address,
                  "HOST:PORT of a cluster, auto (the one this machine belongs to), or local (one "
                  "of its own)")
      ->group(kGroup)
      ->capture_default_str();
  command
      .add_option(
          "--strategy", o.strategy, "pack: ranks on few machines; spread: on as many as there are")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::IsMember({"pack", "spread"}));
  command.add_option("--cpus-per-rank", o.cpus_per_rank, "CPUs that Ray sets aside for each rank")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(0.0, 4096.0));
  command.add_option("--gpus-per-rank", o.gpus_per_rank, "GPUs, likewise")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(0.0, 64.0));
  command
      .add_option("--ray-timeout", o.wait_s, "seconds to wait for a cluster, and for room in it")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 86400));
}

bool is_under_ray() {
  return std::getenv(kUnderRay) != nullptr;
}

void become_ray_launcher(const ModelOptions& model, const RayOptions& o) {
  if (model.nnodes > 1 || !model.node_ranks.empty() || !model.head_addr.empty() ||
      !model.cluster_secret_file.empty())
    fail(ErrorCode::invalid_argument,
         "--distributed-executor-backend ray: machines, their ranks, addresses and secret are "
         "found by Ray; leave out --nnodes, --node-ranks, --head-addr, --cluster-secret-file");
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe");
  const Json launch = {{"program", program.string()},
                       {"arguments", own_arguments()},
                       {"model", model.model},
                       {"tensor_parallel_size", model.tensor_parallel_size},
                       {"pipeline_parallel_size", model.pipeline_parallel_size},
                       {"threads", model.threads},
                       {"copy_model", model.copy_model},
                       {"node_addr", model.node_addr},
                       {"address", o.address},
                       {"strategy", o.strategy},
                       {"cpus_per_rank", o.cpus_per_rank},
                       {"gpus_per_rank", o.gpus_per_rank},
                       {"wait_s", o.wait_s}};
  std::string python = python_of(program), text = launch.dump();
  std::string words[] = {"-m", "quern.ray", "--launch"};
  char* arguments[] = {
      python.data(), words[0].data(), words[1].data(), words[2].data(), text.data(), nullptr};
  execvp(python.c_str(), arguments);
  fail(ErrorCode::unsupported,
       "--distributed-executor-backend ray: cannot run {}: {}; install Python 3 and "
       "`pip install 'quern[ray]'`",
       python,
       std::strerror(errno));
}

}  // namespace quern
