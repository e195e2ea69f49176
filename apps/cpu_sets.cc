// SPDX-License-Identifier: Apache-2.0
#include "cpu_sets.h"

#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "base/format.h"
#include "base/log.h"
#include "tensor/shard.h"

namespace quern {

std::vector<int> nodes_of(std::span<const int> cpus) {
  constexpr int kMaxNodes = 1024;
  std::vector<int> out;
  for (const int cpu : cpus) {
    int node = 0;
    std::error_code ignored;
    for (int n = 0; n < kMaxNodes; ++n) {
      const std::string folder = format("/sys/devices/system/node/node{}", n);
      if (!std::filesystem::exists(folder, ignored)) break;
      if (std::filesystem::exists(format("{}/cpu{}", folder, cpu), ignored)) node = n;
    }
    out.push_back(node);
  }
  return out;
}

std::vector<std::vector<int>> divide_cpus(std::span<const int> cpus,
                                          std::span<const int> nodes,
                                          int parts) {
  std::vector<std::vector<int>> out(static_cast<size_t>(parts));
  if (static_cast<size_t>(parts) > cpus.size()) return out;
  std::vector<size_t> order(cpus.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(
      order.begin(), order.end(), [&](size_t a, size_t b) { return nodes[a] < nodes[b]; });
  for (int part = 0; part < parts; ++part) {
    const Range range = Shard(part, parts).range(static_cast<int64_t>(cpus.size()));
    for (int64_t i = range.begin; i < range.end; ++i)
      out[static_cast<size_t>(part)].push_back(cpus[order[static_cast<size_t>(i)]]);
  }
  return out;
}

std::vector<std::vector<int>> divide_cpus(const Topology& machine, int parts) {
  const auto cores =
      std::span(machine.cpus)
          .first(std::min(machine.cpus.size(), static_cast<size_t>(machine.physical_cores)));
  return divide_cpus(cores, nodes_of(cores), parts);
}

void bind_process(const std::vector<int>& cpus) {
  if (cpus.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus)
    if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0)
    log(LogLevel::warn, "this process cannot be bound to its CPUs; it runs anywhere");
}

}  // namespace quern
