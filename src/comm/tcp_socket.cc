// SPDX-License-Identifier: Apache-2.0
#include "comm/tcp_socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

#include "base/clock.h"
#include "base/error.h"

namespace quern {
namespace {

constexpr int kVanishedMs = 3'000;  // bytes that nobody acknowledges for so long
constexpr int kBacklog = 64;

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

Addresses resolve(const HostPort& address, int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  if (error != 0) fail(ErrorCode::unavailable, "{}: {}", address.text(), gai_strerror(error));
  return {found, freeaddrinfo};
}

void set(int fd, int level, int name, int value) {
  setsockopt(fd, level, name, &value, sizeof value);
}

// Small messages leave at once; a vanished host is noticed while idle and while sending.
void tune(int fd) {
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kVanishedMs);
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

int left_ms(int64_t deadline_us) {
  const int64_t left = (deadline_us - MonotonicClock().now_us() + 999) / 1'000;
  return static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30));
}

void await(int fd, short events, int64_t deadline_us) {
  pollfd wanted{fd, events, 0};
  for (;;) {
    const int count = poll(&wanted, 1, left_ms(deadline_us));
    if (count > 0) return;
    if (count == 0) fail(ErrorCode::unavailable, "no answer in time");
    if (errno != EINTR) fail(ErrorCode::unavailable, "poll: {}", std::strerror(errno));
  }
}

// "" for no error.
std::string connect_one(const Socket& socket, const addrinfo& to, int64_t deadline_us) {
  if (connect(socket.fd(), to.ai_addr, to.ai_addrlen) == 0) return "";
  if (errno != EINPROGRESS) return std::strerror(errno);
  try {
    await(socket.fd(), POLLOUT, deadline_us);
  } catch (const Error& e) {
    return e.what();
  }
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &size);
  return error == 0 ? "" : std::strerror(error);
}

HostPort name_of(const sockaddr_storage& address, socklen_t size) {
  char host[NI_MAXHOST] = "?", port[NI_MAXSERV] = "0";
  getnameinfo(reinterpret_cast<const sockaddr*>(&address),
              size,
              host,
              sizeof host,
              port,
              sizeof port,
              NI_NUMERICHOST | NI_NUMERICSERV);
  return {host, std::atoi(port)};
}

bool is_wildcard(const addrinfo& address) {
  if (address.ai_family == AF_INET)
    return reinterpret_cast<const sockaddr_in*>(address.ai_addr)->sin_addr.s_addr == INADDR_ANY;
  return address.ai_family == AF_INET6 &&
         IN6_IS_ADDR_UNSPECIFIED(
             &reinterpret_cast<const sockaddr_in6*>(address.ai_addr)->sin6_addr);
}

}  // namespace

int64_t deadline_after(int timeout_ms) {
  return MonotonicClock().now_us() + int64_t{timeout_ms} * 1'000;
}

HostPort HostPort::parse(std::string_view text, std::string_view what) {
  const size_t colon = text.rfind(':');
  HostPort out;
  if (colon != std::string_view::npos) {
    std::string_view host = text.substr(0, colon);
    const std::string_view digits = text.substr(colon + 1);
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), out.port);
    out.host = host;
    if (error == std::errc() && end == digits.data() + digits.size() && !host.empty() &&
        out.port >= 0 && out.port <= 65'535)
      return out;
  }
  fail(ErrorCode::invalid_argument, "{} {}: expected HOST:PORT, as in 10.0.0.1:29500", what, text);
}

std::string HostPort::text() const {
  return host.find(':') == std::string::npos ? format("{}:{}", host, port)
                                             : format("[{}]:{}", host, port);
}

Socket::~Socket() {
  if (fd_ >= 0) close(fd_);
}

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) close(fd_);
    fd_ = other.release();
  }
  return *this;
}

void Socket::write_all(std::string_view bytes, int64_t deadline_us) const {
  while (!bytes.empty()) {
    const ssize_t n = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      bytes.remove_prefix(static_cast<size_t>(n));
    } else if (errno == EAGAIN) {
      await(fd_, POLLOUT, deadline_us);
    } else if (errno != EINTR) {
      fail(ErrorCode::unavailable, "the connection broke: {}", std::strerror(errno));
    }
  }
}

void Socket::read_all(char* bytes, size_t size, int64_t deadline_us) const {
  while (size > 0) {
    const ssize_t n = recv(fd_, bytes, size, MSG_DONTWAIT);
    if (n > 0) {
      bytes += n;
      size -= static_cast<size_t>(n);
    } else if (n == 0) {
      fail(ErrorCode::unavailable, "the other side closed the connection");
    } else if (errno == EAGAIN) {
      await(fd_, POLLIN, deadline_us);
    } else if (errno != EINTR) {
      fail(ErrorCode::unavailable, "the connection broke: {}", std::strerror(errno));
    }
  }
}

std::string Socket::peer() const {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getpeername(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "?";
  return name_of(address, size).text();
}

std::string Socket::local() const {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "?";
  return name_of(address, size).host;
}

Socket connect_to(const HostPort& address, int timeout_ms) {
  const int64_t deadline_us = deadline_after(timeout_ms);
  const Addresses found = resolve(address, 0);
  std::string why = "no address";
  for (const addrinfo* to = found.get(); to != nullptr; to = to->ai_next) {
    Socket socket(::socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket.is_open()) continue;
    why = connect_one(socket, *to, deadline_us);
    if (!why.empty()) continue;
    fcntl(socket.fd(), F_SETFL, 0);
    tune(socket.fd());
    return socket;
  }
  fail(ErrorCode::unavailable, "cannot connect to {}: {}", address.text(), why);
}

TcpListener::TcpListener(const HostPort& address) : address_(address) {
  const Addresses found = resolve(address, 0);
  const addrinfo& own = *found;
  if (is_wildcard(own))
    fail(ErrorCode::invalid_argument,
         "{}: a wildcard would listen on every network; give the address that the other machines "
         "reach",
         address.text());
  socket_ = Socket(::socket(own.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  set(socket_.fd(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (bind(socket_.fd(), own.ai_addr, own.ai_addrlen) != 0 || listen(socket_.fd(), kBacklog) != 0) {
    const bool is_ours = errno != EADDRNOTAVAIL;
    fail(is_ours ? ErrorCode::unavailable : ErrorCode::invalid_argument,
         "cannot listen on {}: {}",
         address.text(),
         std::strerror(errno));
  }
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  getsockname(socket_.fd(), reinterpret_cast<sockaddr*>(&bound), &size);
  address_.port = name_of(bound, size).port;
}

Socket TcpListener::accept(int timeout_ms) {
  pollfd ready{socket_.fd(), POLLIN, 0};
  if (poll(&ready, 1, timeout_ms) <= 0) return {};
  Socket out(accept4(socket_.fd(), nullptr, nullptr, SOCK_CLOEXEC));
  if (out.is_open()) tune(out.fd());
  return out;
}

}  // namespace quern
