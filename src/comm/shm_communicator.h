// SPDX-License-Identifier: Apache-2.0
// Ranks of one host meet in shared memory that has no name: a file descriptor is all that leads to
// it.
#pragma once

#include <cstdint>
#include <memory>

#include "comm/communicator.h"

namespace quern {

int64_t shm_region_bytes(int size);
// A descriptor (close-on-exec) of memory for a group of `size` ranks. The caller closes it. Throws
// unavailable.
int make_shm_region(int size);
// How a rank waits: one with a core of its own may spin for some tens of microseconds, which waking
// up would take; others would keep that core from whom they wait for.
enum class Patience : bool { sleeps, spins };

// `fd` stays the caller's. Every wait of the communicator has timeout_ms.
std::unique_ptr<Communicator> open_shm_communicator(
    int fd, int rank, int size, int timeout_ms, Patience patience = Patience::sleeps);

}  // namespace quern
