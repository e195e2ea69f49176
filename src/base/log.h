// SPDX-License-Identifier: Apache-2.0
// Log lines: one event with key=value pairs, to stderr. Prompts and keys are never logged.
//   error: someone must act; warn: surprising; info: once per start or request; debug: the rest.
#pragma once

#include <string_view>

#include "base/format.h"

namespace quern {

enum class LogLevel { debug, info, warn, error, off };

void set_log_level(LogLevel level);
// "debug", "info", "warn" (or "warning"), "error", "off"; throws invalid_argument otherwise.
LogLevel parse_log_level(std::string_view name);
bool log_enabled(LogLevel level);
void log_line(LogLevel level, std::string_view line);

// log(LogLevel::info, "model loaded seconds={:.2f}", s);
template <typename... Args>
void log(LogLevel level, fmt::format_string<Args...> fmt, Args&&... args) {
  if (log_enabled(level)) log_line(level, fmt::format(fmt, std::forward<Args>(args)...));
}

}  // namespace quern
