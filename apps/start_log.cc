// SPDX-License-Identifier: Apache-2.0
#include "start_log.h"

#include <fstream>

#include "base/log.h"

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
