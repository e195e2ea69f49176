// SPDX-License-Identifier: Apache-2.0
#include "doctor/host.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string_view>

namespace quern::doctor {
namespace {

namespace fs = std::filesystem;

constexpr std::streamsize kMostBytes = 1 << 20;  // of any of these files
constexpr int64_t kMostKib = int64_t{1} << 50;
constexpr int64_t kMostBytesOfLimit = int64_t{1} << 60;  // more is how old kernels say "none"
constexpr size_t kMostGpus = 64;

std::string text_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string text(static_cast<size_t>(kMostBytes), '\0');
  in.read(text.data(), kMostBytes);
  text.resize(static_cast<size_t>(std::max<std::streamsize>(in.gcount(), 0)));
  return text;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && static_cast<unsigned char>(text.back()) <= ' ') text.remove_suffix(1);
  return text;
}

std::string_view first_line(std::string_view text) {
  return trimmed(text.substr(0, text.find('\n')));
}

std::optional<int64_t> integer(std::string_view text) {
  text = trimmed(text);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data() || value < 0) return std::nullopt;
  return value;
}

// What stands behind `key` at the beginning of a line.
std::string_view value_of(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    if (line.starts_with(key)) return trimmed(line.substr(key.size()));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
  }
  return {};
}

int64_t kib(std::string_view meminfo, std::string_view key) {
  return std::min(integer(value_of(meminfo, key)).value_or(0), kMostKib) * 1024;
}

void read_memory(const fs::path& root, Host& host) {
  const std::string text = text_of(root / "proc/meminfo");
  host.ram_bytes = kib(text, "MemTotal:");
  host.available_bytes = kib(text, "MemAvailable:");
  host.swap_bytes = kib(text, "SwapTotal:");
  host.swap_used_bytes = std::max<int64_t>(0, host.swap_bytes - kib(text, "SwapFree:"));
  host.reserved_huge_pages = integer(value_of(text, "HugePages_Total:")).value_or(0);
}

// Version 2 of control groups, then version 1.
void read_limits(const fs::path& root, Host& host) {
  const fs::path groups = root / "sys/fs/cgroup";
  for (const char* file : {"memory.max", "memory/memory.limit_in_bytes"})
    if (const auto limit = integer(text_of(groups / file)); limit && *limit < kMostBytesOfLimit)
      host.memory_limit_bytes = *limit;
  const std::string both = text_of(groups / "cpu.max");
  std::optional<int64_t> quota = integer(both), period;
  if (const size_t space = both.find(' '); space != std::string::npos)
    period = integer(std::string_view(both).substr(space));
  if (both.empty()) {
    quota = integer(text_of(groups / "cpu/cpu.cfs_quota_us"));
    period = integer(text_of(groups / "cpu/cpu.cfs_period_us"));
  }
  if (quota && period && *quota > 0 && *period > 0)
    host.cpu_quota = static_cast<double>(*quota) / static_cast<double>(*period);
}

// "always [madvise] never" -> "madvise"
std::string chosen(std::string_view text) {
  const size_t open = text.find('['), close = text.find(']');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) return {};
  return std::string(text.substr(open + 1, close - open - 1));
}

int count_cpus(const fs::path& root) {
  const std::string text = text_of(root / "proc/cpuinfo");
  int count = 0;
  for (size_t at = 0; at != std::string::npos; at = text.find('\n', at + 1))
    count += std::string_view(text).substr(at > 0 ? at + 1 : 0).starts_with("processor\t") ? 1 : 0;
  return count;
}

std::vector<std::string> gpu_names(const fs::path& root) {
  std::vector<std::string> out;
  std::error_code failure;
  for (fs::directory_iterator at(root / "proc/driver/nvidia/gpus", failure), end;
       !failure && at != end && out.size() < kMostGpus;
       at.increment(failure)) {
    const std::string text = text_of(at->path() / "information");
    out.emplace_back(value_of(text, "Model:"));
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

Host read_host(const fs::path& root) {
  Host host;
  read_memory(root, host);
  read_limits(root, host);
  host.load = std::strtod(text_of(root / "proc/loadavg").c_str(), nullptr);
  host.logical_cpus = count_cpus(root);
  host.has_smt = integer(text_of(root / "sys/devices/system/cpu/smt/active")).value_or(0) == 1;
  host.huge_pages = chosen(text_of(root / "sys/kernel/mm/transparent_hugepage/enabled"));
  const std::string governor =
      text_of(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  host.governor = first_line(governor);
  host.gpus = gpu_names(root);
  return host;
}

}  // namespace quern::doctor
