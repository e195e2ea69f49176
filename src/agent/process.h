// SPDX-License-Identifier: Apache-2.0
// One program run to its end: no shell, no input, bounded output, a deadline.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace quern::agent {

struct CommandResult {
  int exit_code = -1;  // -1: it was killed
  bool has_timed_out = false;
  std::string out, err;
};

struct CommandLimits {
  int64_t timeout_ms = 15'000;
  size_t max_bytes = size_t{64} << 20;      // of output; more ends the program
  const std::atomic<bool>* stop = nullptr;  // set: it is killed, and cancelled thrown
};

// `words`: the program, looked up in PATH, and its arguments. A program that leaves a child behind
// (adb starts its server) has ended all the same. Throws not_found if there is no such program,
// exhausted for too much output, cancelled.
CommandResult run_command(const std::vector<std::string>& words, const CommandLimits& limits);

}  // namespace quern::agent
