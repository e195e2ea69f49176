// SPDX-License-Identifier: Apache-2.0
#include "fd_port.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "base/clock.h"
#include "base/error.h"

namespace quern {
namespace {

constexpr size_t kLengthBytes = sizeof(uint32_t);
constexpr uint32_t kMaxBytes = uint32_t{1} << 30;
constexpr size_t kPiece = size_t{1} << 20;

}  // namespace

FdPort::~FdPort() {
  close(fd_);
}

void FdPort::shut() {
  shutdown(fd_, SHUT_RDWR);
}

void FdPort::send_all(const char* data, size_t size) {
  while (size > 0) {
    const ssize_t n = ::send(fd_, data, size, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(ErrorCode::unavailable, "the connection is cut: {}", std::strerror(errno));
    data += n;
    size -= static_cast<size_t>(n);
  }
}

void FdPort::send(std::string_view message) {
  QUERN_CHECK(message.size() <= kMaxBytes, "a message of {} bytes", message.size());
  const auto length = static_cast<uint32_t>(message.size());
  char head[kLengthBytes];
  std::memcpy(head, &length, sizeof head);
  send_all(head, sizeof head);
  send_all(message.data(), message.size());
}

bool FdPort::receive(std::string& message, int timeout_ms) {
  const MonotonicClock clock;
  const int64_t deadline_us = clock.now_us() + int64_t{timeout_ms} * 1'000;
  for (;;) {
    size_t wanted = kLengthBytes;
    if (partial_.size() >= kLengthBytes) {
      uint32_t length = 0;
      std::memcpy(&length, partial_.data(), sizeof length);
      if (length > kMaxBytes) fail(ErrorCode::data_loss, "a message of {} bytes", length);
      wanted += length;
      if (partial_.size() == wanted) {
        message = partial_.substr(kLengthBytes);
        partial_.clear();
        return true;
      }
    }
    const int64_t left_ms = std::max<int64_t>(0, (deadline_us - clock.now_us() + 999) / 1'000);
    pollfd ready{fd_, POLLIN, 0};
    const int count = poll(&ready, 1, static_cast<int>(left_ms));
    if (count < 0 && errno == EINTR) continue;
    if (count == 0) return false;
    const size_t have = partial_.size();
    partial_.resize(have + std::min(wanted - have, kPiece));
    const ssize_t n = recv(fd_, partial_.data() + have, partial_.size() - have, MSG_DONTWAIT);
    partial_.resize(have + static_cast<size_t>(std::max<ssize_t>(n, 0)));
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) fail(ErrorCode::unavailable, "the connection is closed");
  }
}

}  // namespace quern
