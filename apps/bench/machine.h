// SPDX-License-Identifier: Apache-2.0
// What else happens on the machine while a bench runs: other processes, and background training,
// which is paused.
#pragma once

#include <sys/types.h>

#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "base/topology.h"

namespace quern::bench {

// CPU time from its construction on.
class NoiseMeter {
 public:
  // `own`: processes whose time is not noise, beside this one and those it has waited for.
  explicit NoiseMeter(std::vector<pid_t> own = {});
  // {"wall_s", "own_cpu_s", "other_cores"}: other_cores is how many CPUs everybody else kept busy,
  // on average, by /proc/stat (what a hypervisor took included).
  Json read() const;

 private:
  double own_seconds() const;

  MonotonicClock clock_;
  std::vector<pid_t> own_;
  int64_t begin_us_;
  double all_, mine_;
};

// Pauses background training while it lives, by the file `pause` in the folder
// training/state/sight of the current folder or the executable's, or a folder above; says so on
// standard error. A mark that is there already stays. SIGINT and SIGTERM remove the mark and then
// end the process as they always do. At most one lives at a time.
class QuietMachine {
 public:
  QuietMachine();
  ~QuietMachine();
  QuietMachine(const QuietMachine&) = delete;
  QuietMachine& operator=(const QuietMachine&) = delete;
};

}  // namespace quern::bench
