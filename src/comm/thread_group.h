// SPDX-License-Identifier: Apache-2.0
// Ranks as threads of one process: for checks and tests.
#pragma once

#include <memory>
#include <vector>

#include "comm/communicator.h"

namespace quern {

// One communicator for each of `ranks` threads. Throws unavailable if memory for them is short.
std::vector<std::unique_ptr<Communicator>> make_thread_group(int ranks);

}  // namespace quern
