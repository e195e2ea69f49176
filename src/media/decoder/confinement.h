// SPDX-License-Identifier: Apache-2.0
// Takes from this process what decoding pictures does not need.
#pragma once

#include <cstddef>

namespace quern {

// For good: at most `memory_bytes` more of address space than now; no new files, processes, core
// dumps or privileges; and, where the kernel has filters (seccomp), no system calls but those that
// read, write, and manage memory and time. Opening a file fails; any other call ends the process.
// Returns whether the filter is there. For a process of one thread. A build with sanitizers, which
// call for more, only gives up its privileges.
bool confine_process(size_t memory_bytes);

}  // namespace quern
