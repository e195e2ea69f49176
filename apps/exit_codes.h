// SPDX-License-Identifier: Apache-2.0
// The exit codes of all commands: one table, told in docs/exit-codes.md and the man page.
#pragma once

#include <exception>
#include <span>
#include <string_view>

#include "base/error.h"

namespace quern {

enum ExitCode : int {
  kExitDone = 0,
  kExitFailed = 1,         // the work failed, or what was compared differs
  kExitUsage = 2,          // the command line is wrong
  kExitModel = 3,          // model or file missing, damaged or unsupported
  kExitMemory = 4,         // does not fit: memory, or the disk that is written to
  kExitOffline = 5,        // would need the network
  kExitPortInUse = 6,      // the address to listen on is taken
  kExitTemporary = 75,     // try again later (sysexits.h: EX_TEMPFAIL)
  kExitInterrupted = 130,  // ended by SIGINT
};

struct ExitCodeMeaning {
  int code;
  std::string_view meaning;
};

// All of them, ascending.
std::span<const ExitCodeMeaning> exit_code_table();

// What a command that ends with this Error returns.
int exit_code_of(ErrorCode code);
// Of any exception: Error by its code, a model that is not cached and a taken address by their own,
// bad_alloc as memory, the rest as failed.
int exit_code_of(const std::exception& error);

}  // namespace quern
