// SPDX-License-Identifier: Apache-2.0
#include "start_log.h"

#include <algorithm>
#include <fstream>

#include "base/log.h"
#include "nn/expert_memory.h"

namespace quern {
namespace {

// The most memory that this process has held, pages of mapped files included; 0 where the system
// does not say.
int64_t peak_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) * 1024;
  return 0;
}

}  // namespace

void log_parsers(const AnswerDialects& dialects, const LoadOptions& load) {
  const auto how = [](const std::string& asked) {
    return asked == kAutoParser ? "found in the chat template" : "as asked for";
  };
  log(LogLevel::info,
      "answers: tool calls are read as \"{}\" ({}), reasoning as \"{}\" ({})",
      dialects.tool_parser,
      how(load.tool_parser),
      dialects.reasoning_parser,
      how(load.reasoning_parser));
}

void log_experts(const Builder& builder) {
  if (!builder.expert_memory()) return;
  constexpr double kGib = 1.0 / (int64_t{1} << 30);
  const PagedExperts& all = builder.paged_experts();
  const ExpertMemory::Loads& loads = builder.expert_memory()->loads();
  if (all.bytes == 0 || loads.seconds <= 0) return;
  const auto held = static_cast<double>(std::min(all.bytes, builder.expert_memory()->most_bytes()));
  const double missing = 1 - held / static_cast<double>(all.bytes);
  const double rate = static_cast<double>(loads.bytes) / loads.seconds;  // bytes/s
  const double seconds = missing * static_cast<double>(all.token_bytes) / rate;
  log(LogLevel::info,
      "experts: {:.3f} of {:.3f} GiB can be held, the others stay in the file. A token chooses "
      "{:.3f} GiB; {} experts were read and packed at {:.2f} GB/s: where choices are spread evenly "
      "a token waits {:.3g} s for those that are not held ({:.3g} tokens/s at most)",
      held * kGib,
      static_cast<double>(all.bytes) * kGib,
      static_cast<double>(all.token_bytes) * kGib,
      loads.count,
      rate * 1e-9,
      seconds,
      seconds > 0 ? 1 / seconds : 0.0);
}

void log_ready(const OpenedModel& opened, int64_t took_us) {
  constexpr double kGb = 1e-9;
  log(LogLevel::info,
      "ready in {:.2f} s, weights {:.2f} GB packed from {:.2f} GB, peak {:.2f} GB",
      static_cast<double>(took_us) * 1e-6,
      kGb * static_cast<double>(opened.model->weight_bytes()),
      kGb * static_cast<double>(opened.checkpoint->total_bytes()),
      kGb * static_cast<double>(peak_bytes()));
}

}  // namespace quern
