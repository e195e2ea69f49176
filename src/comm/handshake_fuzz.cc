// SPDX-License-Identifier: Apache-2.0
// Whatever a stranger says at a rank port ends in an Error: nobody without the secret is welcome.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "base/error.h"
#include "comm/handshake.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace quern;
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) std::abort();
  const Socket stranger(fds[0]), own(fds[1]);
  const size_t taken = std::min<size_t>(size, 8'192);
  if (write(stranger.fd(), data, taken) != static_cast<ssize_t>(taken)) std::abort();
  shutdown(stranger.fd(), SHUT_WR);
  try {
    welcome(own, {"a secret of some length", "fuzz"}, 1'000);
    std::abort();
  } catch (const Error&) {
  }
  return 0;
}
