// SPDX-License-Identifier: Apache-2.0
// This program run as a command of its own: what it measures is then measured in a fresh process,
// and anybody can run the same line.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"

namespace quern::compare {

struct OwnResult {
  int exit_code = 0;  // 128 + the number of a signal that ended it
  std::string output;
};

// Runs `quern` with `arguments` to its end; its standard error is this process's. It ends with this
// process. Throws unavailable if it cannot be started, exhausted beyond 256 MiB of output.
OwnResult run_own(const std::vector<std::string>& arguments);

// The JSON that a command prints. Throws internal, naming the command, unless it ends with 0 or
// `other_code`.
Json json_of(const std::vector<std::string>& arguments, int other_code = 0);

// The command as one would type it.
std::string typed(const std::vector<std::string>& arguments);

// A folder that is gone, with what is in it, when this ends.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace quern::compare
