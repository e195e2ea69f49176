// SPDX-License-Identifier: Apache-2.0
#include "media/decoder/protocol.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/clock.h"

namespace quern {
namespace {

// Until `fd` is ready; false when the time is over.
bool wait_for(int fd, short events, int64_t deadline_us) {
  for (;;) {
    const int64_t left_ms = (deadline_us - MonotonicClock().now_us() + 999) / 1000;
    if (left_ms <= 0) return false;
    pollfd ready{fd, events, 0};
    const int count = poll(&ready, 1, static_cast<int>(std::min<int64_t>(left_ms, 60'000)));
    if (count > 0) return true;
    if (count < 0 && errno != EINTR) return true;  // the next call says why
  }
}

template <typename Move>
Transfer transfer(int fd, size_t size, short events, int64_t deadline_us, Move move) {
  for (size_t done = 0; done < size;) {
    const ssize_t n = move(done);
    if (n > 0) {
      done += static_cast<size_t>(n);
    } else if (n == 0) {
      return Transfer::closed;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!wait_for(fd, events, deadline_us)) return Transfer::late;
    } else if (errno != EINTR) {
      return Transfer::closed;
    }
  }
  return Transfer::done;
}

template <typename Move>
bool move_all(size_t size, Move move) {
  for (size_t done = 0; done < size;) {
    const ssize_t n = move(done);
    if (n == 0 || (n < 0 && errno != EINTR)) return false;
    if (n > 0) done += static_cast<size_t>(n);
  }
  return true;
}

}  // namespace

Transfer send_all(int fd, std::span<const std::byte> bytes, int64_t deadline_us) {
  return transfer(fd, bytes.size(), POLLOUT, deadline_us, [&](size_t at) {
    return send(fd, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL | MSG_DONTWAIT);
  });
}

Transfer receive_all(int fd, std::span<std::byte> bytes, int64_t deadline_us) {
  return transfer(fd, bytes.size(), POLLIN, deadline_us, [&](size_t at) {
    return recv(fd, bytes.data() + at, bytes.size() - at, MSG_DONTWAIT);
  });
}

bool has_input(int fd) {
  pollfd ready{fd, POLLIN, 0};
  return poll(&ready, 1, 0) != 0;
}

bool write_all(int fd, std::span<const std::byte> bytes) {
  return move_all(bytes.size(),
                  [&](size_t at) { return write(fd, bytes.data() + at, bytes.size() - at); });
}

bool read_all(int fd, std::span<std::byte> bytes) {
  return move_all(bytes.size(),
                  [&](size_t at) { return read(fd, bytes.data() + at, bytes.size() - at); });
}

}  // namespace quern
