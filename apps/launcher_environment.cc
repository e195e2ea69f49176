// SPDX-License-Identifier: Apache-2.0
#include "launcher_environment.h"

#include <charconv>

#include "base/error.h"

namespace quern {
namespace {

struct Words {
  const char* launcher;
  const char* count;
  const char* number;
  std::initializer_list<const char*> heads;  // the head's name or a list that begins with it
};

// LeaderWorkerSet's API v1; Open MPI's and PMI's by their mpirun; Slurm's srun(1), OUTPUT
// ENVIRONMENT.
const Words kLaunchers[] = {
    {"LeaderWorkerSet", "LWS_GROUP_SIZE", "LWS_WORKER_INDEX", {"LWS_LEADER_ADDRESS"}},
    {"Open MPI", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", {}},
    {"PMI", "PMI_SIZE", "PMI_RANK", {}},
    {"Slurm", "SLURM_NTASKS", "SLURM_PROCID", {"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"}},
};

int number_of(const char* name, const std::string& text) {
  int out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size() || out < 0)
    fail(ErrorCode::invalid_argument, "${}: expected a number, got \"{}\"", name, text);
  return out;
}

}  // namespace

std::string first_host(const std::string& list) {
  const size_t bracket = list.find('['), comma = list.find(',');
  if (bracket == std::string::npos || comma < bracket) return list.substr(0, comma);
  const size_t end = list.find_first_of(",-]", bracket);
  const size_t close = list.find(']', bracket);
  if (end == std::string::npos || close == std::string::npos) return list;
  const size_t behind = std::min(list.find(',', close), list.size());
  return list.substr(0, bracket) + list.substr(bracket + 1, end - bracket - 1) +
         list.substr(close + 1, behind - close - 1);
}

std::optional<LaunchPlace> launch_place(const std::function<const char*(const char*)>& variable) {
  for (const Words& words : kLaunchers) {
    const char* count = variable(words.count);
    const char* number = variable(words.number);
    if (count == nullptr || number == nullptr) continue;
    LaunchPlace out{.launcher = words.launcher,
                    .count = number_of(words.count, count),
                    .number = number_of(words.number, number),
                    .head_host = {}};
    for (const char* head : words.heads)
      if (const char* found = variable(head); found != nullptr && out.head_host.empty())
        out.head_host = first_host(found);
    return out;
  }
  return std::nullopt;
}

}  // namespace quern
