// SPDX-License-Identifier: Apache-2.0
#include "comm/thread_group.h"

#include <unistd.h>

#include "comm/shm_communicator.h"

namespace quern {
namespace {

constexpr int kTimeoutMs = 120'000;  // a tower's layer on a busy machine, many times over

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_thread_group(int ranks) {
  std::vector<std::unique_ptr<Communicator>> out;
  const int fd = make_shm_region(ranks);
  try {
    for (int r = 0; r < ranks; ++r) out.push_back(open_shm_communicator(fd, r, ranks, kTimeoutMs));
  } catch (...) {
    close(fd);
    throw;
  }
  close(fd);
  return out;
}

}  // namespace quern
