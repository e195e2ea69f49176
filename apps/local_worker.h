// SPDX-License-Identifier: Apache-2.0
// A worker process of this machine, and the front's end of the socket to it.
#pragma once

#include <memory>
#include <vector>

#include "engine/message_port.h"

namespace quern {

// Whether the worker is to go to a head for its job, or gets it on its socket.
enum class MustDial : bool { no, yes };

// `regions` are descriptors for it to inherit. Throws unavailable if the system starts no process.
std::unique_ptr<WorkerHandle> start_local_worker(int rank,
                                                 std::vector<int> regions,
                                                 MustDial must_dial);

}  // namespace quern
