// SPDX-License-Identifier: Apache-2.0
// What the machine is: cores this process may use, memory, instruction sets.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

// Instruction-set tiers that kernels are written for, in rising order. A CPU of one tier runs all
// tiers below it.
enum class Isa { scalar, avx2, avx512, avx512_vnni, avx512_bf16, amx };

std::string_view name_of(Isa isa);
// "scalar", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx"; throws invalid_argument
// otherwise.
Isa parse_isa(std::string_view name);

struct Topology {
  std::vector<int>
      cpus;  // logical CPUs of this process's affinity mask, one per physical core first
  int physical_cores = 1;  // among them
  int numa_nodes = 1;
  int64_t memory_bytes = 0;     // the smaller of RAM and the cgroup's limit
  int64_t available_bytes = 0;  // of it, free now
  std::string cpu_name;
  Isa isa = Isa::scalar;  // best tier that CPU and operating system offer
};

// Looks at the machine once per call; cheap enough for start-up.
Topology probe_topology();

// The memory that this process holds now, pages of mapped files included.
int64_t resident_bytes();

}  // namespace quern
