// SPDX-License-Identifier: Apache-2.0
// Every two machines of a cluster measure the way between them, each way by itself, at the word of
// the first.
#pragma once

#include "parallel_options.h"
#include "plan/machine_map.h"

namespace quern {

// The head's side: waits for the other machines, has every pair measure, and tells them that it is
// over. `own` is this machine, without its address.
MachineMap check_net(const ParallelOptions& options, const MachineModel& own);

// Any other machine's, until the head is done.
void serve_net_check(const ParallelOptions& options, const MachineModel& own);

}  // namespace quern
