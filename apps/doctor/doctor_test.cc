// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "base/format.h"
#include "doctor/findings.h"
#include "doctor/host.h"

namespace quern::doctor {
namespace {

namespace fs = std::filesystem;

// The files of a machine, in a folder of their own.
class FakeMachine {
 public:
  FakeMachine() : root_(fs::temp_directory_path() / format("quern-doctor-{}", getpid())) {
    fs::remove_all(root_);
  }
  ~FakeMachine() { fs::remove_all(root_); }
  FakeMachine& put(const std::string& file, const std::string& text) {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
    return *this;
  }
  Host read() const { return read_host(root_); }

 private:
  fs::path root_;
};

Topology machine_of(int cores) {
  Topology out;
  out.physical_cores = cores;
  out.isa = Isa::avx2;
  return out;
}

TEST(Host, ReadsWhatTheSystemSays) {
  FakeMachine m;
  m.put("proc/meminfo",
        "MemTotal:       1000 kB\nMemAvailable:    400 kB\nSwapTotal:  100 kB\nSwapFree:  30 kB\n"
        "HugePages_Total:       7\n")
      .put("proc/cpuinfo", "processor\t: 0\nmodel name\t: x\n\nprocessor\t: 1\n")
      .put("proc/loadavg", "1.50 1.00 0.50 2/300 12345\n")
      .put("sys/fs/cgroup/cpu.max", "250000 100000\n")
      .put("sys/fs/cgroup/memory.max", "512000\n")
      .put("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
      .put("sys/devices/system/cpu/smt/active", "1\n")
      .put("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
      .put("proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t\t NVIDIA X\nIRQ: 5\n");
  const Host host = m.read();
  EXPECT_EQ(host.ram_bytes, 1000 * 1024);
  EXPECT_EQ(host.available_bytes, 400 * 1024);
  EXPECT_EQ(host.swap_used_bytes, 70 * 1024);
  EXPECT_EQ(host.reserved_huge_pages, 7);
  EXPECT_EQ(host.logical_cpus, 2);
  EXPECT_DOUBLE_EQ(host.load, 1.5);
  EXPECT_DOUBLE_EQ(host.cpu_quota, 2.5);
  EXPECT_EQ(host.memory_limit_bytes, 512000);
  EXPECT_EQ(host.huge_pages, "madvise");
  EXPECT_TRUE(host.has_smt);
  EXPECT_EQ(host.governor, "powersave");
  EXPECT_EQ(host.gpus, std::vector<std::string>{"NVIDIA X"});
}

TEST(Host, TakesSilenceAndNonsenseForNothing) {
  FakeMachine m;
  EXPECT_EQ(m.read().ram_bytes, 0);
  m.put("proc/meminfo", "MemTotal: lots\nSwapTotal: -5 kB\nMemAvailable:")
      .put("sys/fs/cgroup/cpu.max", "max 100000\n")
      .put("sys/fs/cgroup/memory.max", "max\n")
      .put("sys/kernel/mm/transparent_hugepage/enabled", "]never[")
      .put("proc/loadavg", "?");
  const Host host = m.read();
  EXPECT_EQ(host.ram_bytes, 0);
  EXPECT_EQ(host.cpu_quota, 0);
  EXPECT_EQ(host.memory_limit_bytes, 0);
  EXPECT_EQ(host.huge_pages, "");
  EXPECT_EQ(host.load, 0);
}

TEST(Host, ReadsTheOlderControlGroups) {
  FakeMachine m;
  m.put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "150000\n")
      .put("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
      .put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_DOUBLE_EQ(m.read().cpu_quota, 1.5);
  EXPECT_EQ(m.read().memory_limit_bytes, 0);
}

TEST(Findings, SayNothingOfAMachineInOrder) {
  Host host;
  host.governor = "performance";
  host.huge_pages = "madvise";
  host.cpu_quota = 8;
  EXPECT_TRUE(findings_of(host, machine_of(8)).empty());
}

TEST(Findings, NameACommandForEachFault) {
  Host host;
  host.governor = "powersave";
  host.huge_pages = "never";
  host.cpu_quota = 2.5;
  host.load = 4;
  host.swap_used_bytes = int64_t{1} << 30;
  Topology machine = machine_of(8);
  machine.numa_nodes = 2;
  const std::vector<Finding> found = findings_of(host, machine);
  ASSERT_EQ(found.size(), 6u);
  EXPECT_NE(found[0].command.find("--threads 2 "), std::string::npos);
  EXPECT_EQ(found[3].command, "quern serve MODEL -tp 2");
  for (const Finding& finding : found) EXPECT_FALSE(finding.command.empty()) << finding.what;
}

}  // namespace
}  // namespace quern::doctor
