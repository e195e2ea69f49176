// SPDX-License-Identifier: Apache-2.0
// RawClient: a socket to a loopback server, for tests that say exactly which bytes go when.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>

namespace quern {

struct RawResponse {
  int status = 0;
  std::string head, body;

  // The value of a header (name in lower case); empty if there is none.
  std::string header(std::string_view name) const {
    for (size_t begin = head.find("\r\n"); begin != std::string::npos;) {
      const size_t end = head.find("\r\n", begin + 2);
      const std::string line =
          head.substr(begin + 2, end == std::string::npos ? end : end - begin - 2);
      const size_t colon = std::min(line.find(':'), line.size());
      std::string key = line.substr(0, colon);
      std::transform(
          key.begin(), key.end(), key.begin(), [](unsigned char c) { return std::tolower(c); });
      if (key == name && colon + 2 <= line.size()) return line.substr(colon + 2);
      begin = end;
    }
    return {};
  }
};

class RawClient {
 public:
  explicit RawClient(int port, int receive_buffer = 0) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0)
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    const int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    is_connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~RawClient() { close(); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool is_connected() const { return is_connected_; }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  // With a reset instead of a good-bye.
  void reset() {
    const linger now{1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }

  // False once the other side no longer takes bytes.
  bool send(std::string_view data) {
    while (!data.empty()) {
      const ssize_t n = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      data.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }

  // Reads more into the buffer; false at the end of the stream or after ten seconds.
  bool receive() {
    pollfd ready{fd_, POLLIN, 0};
    if (poll(&ready, 1, 10'000) != 1) return false;
    char bytes[16384];
    const ssize_t n = recv(fd_, bytes, sizeof bytes, 0);
    if (n <= 0) return false;
    buffer_.append(bytes, static_cast<size_t>(n));
    return true;
  }
  // Until `text` has come; everything up to its end is taken from the buffer.
  std::string read_until(std::string_view text) {
    for (;;) {
      const size_t at = buffer_.find(text);
      if (at != std::string::npos) return take(at + text.size());
      if (!receive()) return {};
    }
  }
  // All until the other side closes.
  std::string read_to_end() {
    while (receive()) {
    }
    return take(buffer_.size());
  }

  // One response, of known length or in chunks. Status 0: the connection ended first.
  RawResponse read_response(bool has_body = true) {
    RawResponse response;
    response.head = read_until("\r\n\r\n");
    if (response.head.size() < 12) return response;
    response.status = std::atoi(response.head.c_str() + 9);
    if (!has_body || response.status == 100) return response;
    if (response.header("transfer-encoding") == "chunked") {
      response.body = read_chunks();
    } else {
      const size_t length =
          static_cast<size_t>(std::atoll(response.header("content-length").c_str()));
      while (buffer_.size() < length && receive()) {
      }
      response.body = take(std::min(length, buffer_.size()));
    }
    return response;
  }

  RawResponse ask(std::string_view request) {
    send(request);
    return read_response();
  }

 private:
  std::string take(size_t bytes) {
    std::string out = buffer_.substr(0, bytes);
    buffer_.erase(0, bytes);
    return out;
  }
  std::string read_chunks() {
    std::string body;
    for (;;) {
      const std::string line = read_until("\r\n");
      const size_t size = std::strtoul(line.c_str(), nullptr, 16);
      while (buffer_.size() < size + 2 && receive()) {
      }
      if (line.empty() || buffer_.size() < size + 2) return body + "<broken off>";
      body += take(size + 2).substr(0, size);
      if (size == 0) return body;
    }
  }

  int fd_;
  bool is_connected_ = false;
  std::string buffer_;
};

inline std::string get(std::string_view path, std::string_view headers = "") {
  return std::string("GET ")
      .append(path)
      .append(" HTTP/1.1\r\nHost: localhost\r\n")
      .append(headers)
      .append("\r\n");
}

inline std::string post(std::string_view path,
                        std::string_view body,
                        std::string_view headers = "") {
  return std::string("POST ")
      .append(path)
      .append(" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ")
      .append(std::to_string(body.size()))
      .append("\r\n")
      .append(headers)
      .append("\r\n")
      .append(body);
}

}  // namespace quern
