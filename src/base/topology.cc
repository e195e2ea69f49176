// SPDX-License-Identifier: Apache-2.0
#include "base/topology.h"

#include <cpuid.h>
#include <hwloc.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <memory>
#include <set>

#include "base/error.h"

namespace quern {
namespace {

constexpr std::string_view kIsaNames[] = {
    "scalar", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx"};

// AMX with products of int8 and bf16 (CPUID leaf 7: amx-bf16, amx-tile, amx-int8). Its registers
// are large, so Linux gives them to a process, all of its threads, when it asks.
bool has_tile_unit() {
  constexpr unsigned kAll = 1u << 22 | 1u << 24 | 1u << 25;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kAll) == kAll &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

Isa detect_isa() {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  if (!avx2) return Isa::scalar;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!avx512) return Isa::avx2;
  if (!__builtin_cpu_supports("avx512vnni")) return Isa::avx512;
  if (!__builtin_cpu_supports("avx512bf16")) return Isa::avx512_vnni;
  // Every CPU with a tile unit so far looks up bytes too, which its kernels count on.
  return __builtin_cpu_supports("avx512vbmi") && has_tile_unit() ? Isa::amx : Isa::avx512_bf16;
}

int64_t read_limit(const char* path) {
  std::ifstream in(path);
  int64_t value = 0;
  return in >> value && value > 0 ? value
                                  : std::numeric_limits<int64_t>::max();  // "max" reads as no limit
}

int64_t available_memory() {
  std::ifstream in("/proc/meminfo");
  std::string key, unit;
  int64_t kib = 0;
  while (in >> key >> kib) {
    std::getline(in, unit);
    if (key == "MemAvailable:") return kib * 1024;
  }
  return std::numeric_limits<int64_t>::max();
}

std::string cpu_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown CPU";
}

struct HwlocDeleter {
  void operator()(hwloc_topology_t t) const { hwloc_topology_destroy(t); }
};

// Orders CPUs so that the first `physical_cores` of them lie on different cores.
void read_cores(Topology& out) {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) return;
  const std::unique_ptr<hwloc_topology, HwlocDeleter> topology(raw);
  if (hwloc_topology_load(raw) != 0) return;
  out.numa_nodes = std::max(1, hwloc_get_nbobjs_by_type(raw, HWLOC_OBJ_NUMANODE));
  std::vector<int> first, rest;
  std::set<int> allowed(out.cpus.begin(), out.cpus.end());
  const int cores = hwloc_get_nbobjs_by_type(raw, HWLOC_OBJ_CORE);
  for (int c = 0; c < cores; ++c) {
    const hwloc_obj_t core = hwloc_get_obj_by_type(raw, HWLOC_OBJ_CORE, static_cast<unsigned>(c));
    bool is_first = true;
    for (int cpu = hwloc_bitmap_first(core->cpuset); cpu >= 0;
         cpu = hwloc_bitmap_next(core->cpuset, cpu)) {
      if (allowed.count(cpu) == 0) continue;
      (is_first ? first : rest).push_back(cpu);
      is_first = false;
    }
  }
  if (first.empty()) return;
  out.physical_cores = static_cast<int>(first.size());
  first.insert(first.end(), rest.begin(), rest.end());
  out.cpus = std::move(first);
}

}  // namespace

std::string_view name_of(Isa isa) {
  return kIsaNames[static_cast<size_t>(isa)];
}

Isa parse_isa(std::string_view name) {
  for (size_t i = 0; i < std::size(kIsaNames); ++i)
    if (kIsaNames[i] == name) return static_cast<Isa>(i);
  fail(ErrorCode::invalid_argument,
       "instruction set '{}' is none of scalar, avx2, avx512, avx512_vnni, avx512_bf16, amx",
       name);
}

Topology probe_topology() {
  Topology out;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &set)) out.cpus.push_back(cpu);
  if (out.cpus.empty()) out.cpus.push_back(0);
  out.physical_cores = static_cast<int>(out.cpus.size());
  read_cores(out);
  const int64_t ram = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
  const int64_t limit = std::min(read_limit("/sys/fs/cgroup/memory.max"),
                                 read_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
  out.memory_bytes = std::min(ram, limit);
  out.available_bytes = std::min(available_memory(), out.memory_bytes);
  out.cpu_name = cpu_name();
  out.isa = detect_isa();
  return out;
}

int64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  int64_t pages = 0, resident = 0;
  in >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

}  // namespace quern
