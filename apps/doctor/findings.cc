// SPDX-License-Identifier: Apache-2.0
#include "doctor/findings.h"

#include <cmath>

#include "base/format.h"

namespace quern::doctor {
namespace {

constexpr int64_t kSwapThatMatters = int64_t{64} << 20;  // bytes
constexpr double kBusyShare = 0.25;                      // of the cores, by others

}  // namespace

std::vector<Finding> findings_of(const Host& host, const Topology& machine) {
  std::vector<Finding> out;
  const auto cores = static_cast<double>(machine.physical_cores);
  if (machine.isa == Isa::scalar)
    out.push_back({"the CPU has no AVX2: products run in plain loops, many times slower",
                   "run on another machine; grep -c avx2 /proc/cpuinfo tells"});
  if (host.cpu_quota > 0 && host.cpu_quota < cores)
    out.push_back({format("the container may keep {:.1f} of {} cores busy: more threads than that "
                          "are stopped in the middle of a step",
                          host.cpu_quota,
                          machine.physical_cores),
                   format("quern serve MODEL --threads {}   (or docker update --cpus {} CONTAINER)",
                          std::max(1, static_cast<int>(std::floor(host.cpu_quota))),
                          machine.physical_cores)});
  if (host.load > kBusyShare * cores)
    out.push_back({format("{:.1f} processes were runnable in the last minute, on {} cores: they "
                          "take time and bandwidth",
                          host.load,
                          machine.physical_cores),
                   "ps -eo pid,pcpu,comm --sort=-pcpu | head"});
  if (host.swap_used_bytes > kSwapThatMatters)
    out.push_back({format("{:.1f} GB are swapped out: weights may follow, and come back from disk "
                          "in every step",
                          static_cast<double>(host.swap_used_bytes) * 1e-9),
                   host.available_bytes > host.swap_used_bytes
                       ? "sudo swapoff -a"
                       : "ps -eo pid,rss,comm --sort=-rss | head   (memory is short: end some)"});
  if (machine.numa_nodes > 1)
    out.push_back({format("{} NUMA nodes: one rank reads most weights across the link between them",
                          machine.numa_nodes),
                   format("quern serve MODEL -tp {}", machine.numa_nodes)});
  if (!host.governor.empty() && host.governor != "performance")
    out.push_back({format("the CPU frequency governor is {}: short steps end before it speeds up",
                          host.governor),
                   "sudo cpupower frequency-set -g performance"});
  if (host.huge_pages == "never")
    out.push_back({"transparent huge pages are off: reading weights misses the TLB",
                   "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"});
  return out;
}

}  // namespace quern::doctor
