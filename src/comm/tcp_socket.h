// SPDX-License-Identifier: Apache-2.0
// Connected and listening TCP sockets between ranks and hosts. Addresses are bound as given, never
// a wildcard. A host that vanished without a word is noticed after some seconds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace quern {

struct HostPort {
  std::string host;
  int port = 0;

  // "10.0.0.1:29500", "[fe80::1]:29500", "name:29500". Throws invalid_argument naming `what`.
  static HostPort parse(std::string_view text, std::string_view what);
  std::string text() const;
};

// So far ahead on the monotonic clock, in microseconds: what waits are bounded by.
int64_t deadline_after(int timeout_ms);

class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket();
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept;

  int fd() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }

  // All of it before `deadline_us` of the monotonic clock, else unavailable; as when the other side
  // closes.
  void write_all(std::string_view bytes, int64_t deadline_us) const;
  void read_all(char* bytes, size_t size, int64_t deadline_us) const;
  std::string peer() const;   // address and port of the other side
  std::string local() const;  // and the address, without port, of this one

 private:
  int fd_ = -1;
};

// Throws unavailable, naming the address and the reason.
Socket connect_to(const HostPort& address, int timeout_ms);

class TcpListener {
 public:
  // Port 0: any free one. Throws invalid_argument for a wildcard or an address that is not this
  // machine's, unavailable if the port is taken.
  explicit TcpListener(const HostPort& address);

  const HostPort& address() const { return address_; }
  // A socket that is not open: nobody came for timeout_ms.
  Socket accept(int timeout_ms);

 private:
  HostPort address_;
  Socket socket_;
};

}  // namespace quern
