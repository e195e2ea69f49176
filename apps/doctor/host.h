// SPDX-License-Identifier: Apache-2.0
// Host: what the operating system says of a machine that decides how fast a model runs on it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace quern::doctor {

// What is not said is zero or empty.
struct Host {
  int64_t ram_bytes = 0, available_bytes = 0, swap_bytes = 0, swap_used_bytes = 0;
  int64_t memory_limit_bytes = 0;  // of the container
  double cpu_quota = 0;            // CPUs that the container may keep busy
  double load = 0;                 // runnable processes, mean of the last minute
  int logical_cpus = 0;
  bool has_smt = false;    // two threads share a core
  std::string huge_pages;  // transparent ones: always, madvise or never
  int64_t reserved_huge_pages = 0;
  std::string governor;           // of CPU 0: performance, powersave, …
  std::vector<std::string> gpus;  // names
};

// Reads below `root`, which is "/" but for tests. Never throws: a file that is absent or unreadable
// says nothing.
Host read_host(const std::filesystem::path& root);

}  // namespace quern::doctor
