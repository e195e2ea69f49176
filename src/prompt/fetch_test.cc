// SPDX-License-Identifier: Apache-2.0
#include "prompt/fetch.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <thread>

#include "base/error.h"

namespace quern {
namespace {

using testing::HasSubstr;

bool is_public(const std::string& text) {
  sockaddr_storage storage{};
  if (in_addr v4; inet_pton(AF_INET, text.c_str(), &v4) == 1) {
    auto& in = reinterpret_cast<sockaddr_in&>(storage);
    in.sin_family = AF_INET;
    in.sin_addr = v4;
  } else {
    auto& in = reinterpret_cast<sockaddr_in6&>(storage);
    in.sin6_family = AF_INET6;
    EXPECT_EQ(inet_pton(AF_INET6, text.c_str(), &in.sin6_addr), 1) << text;
  }
  return is_public_address(reinterpret_cast<const sockaddr&>(storage));
}

TEST(PublicAddress, KnowsWhatIsNot) {
  for (const char* text : {"127.0.0.1",
                           "127.255.0.9",
                           "10.1.2.3",
                           "172.16.0.1",
                           "172.31.255.255",
                           "192.168.1.1",
                           "169.254.169.254",
                           "100.64.0.1",
                           "0.0.0.0",
                           "224.0.0.1",
                           "255.255.255.255",
                           "240.0.0.1",
                           "192.0.2.1",
                           "198.18.0.1",
                           "::1",
                           "::",
                           "fe80::1",
                           "fc00::1",
                           "fd12::1",
                           "ff02::1",
                           "::ffff:127.0.0.1",
                           "::ffff:10.0.0.1",
                           "::127.0.0.1",
                           "64:ff9b::7f00:1",
                           "2002:7f00:1::",
                           "2002:a00:1::1",
                           "2001:db8::1",
                           "2001::1",
                           "fec0::1"})
    EXPECT_FALSE(is_public(text)) << text;
}

TEST(PublicAddress, KnowsWhatIs) {
  for (const char* text : {"8.8.8.8",
                           "172.32.0.1",
                           "100.128.0.1",
                           "169.255.0.1",
                           "2606:4700::1111",
                           "2a00:1450::1",
                           "::ffff:8.8.8.8",
                           "64:ff9b::808:808",
                           "2002:808:808::1"})
    EXPECT_TRUE(is_public(text)) << text;
  sockaddr other{};
  other.sa_family = AF_UNIX;
  EXPECT_FALSE(is_public_address(other));
}

TEST(AllowedHost, MatchesWholeNames) {
  const std::vector<std::string> list{"example.com", "*.pictures.org"};
  EXPECT_TRUE(is_allowed_host("EXAMPLE.com", list));
  EXPECT_TRUE(is_allowed_host("example.com.", list));
  EXPECT_TRUE(is_allowed_host("a.b.pictures.org", list));
  EXPECT_FALSE(is_allowed_host("pictures.org", list));
  EXPECT_FALSE(is_allowed_host("evilpictures.org", list));
  EXPECT_FALSE(is_allowed_host("www.example.com", list));
  EXPECT_FALSE(is_allowed_host("example.com.evil.net", list));
  EXPECT_TRUE(is_allowed_host("anything", {"*"}));
  EXPECT_FALSE(is_allowed_host("example.com", {}));
}

// Answers each path with a fixed text, on the loopback.
class Server {
 public:
  explicit Server(std::map<std::string, std::string> answers) : answers_(std::move(answers)) {
    socket_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof in;
    if (bind(socket_, reinterpret_cast<sockaddr*>(&in), size) != 0 || listen(socket_, 16) != 0 ||
        getsockname(socket_, reinterpret_cast<sockaddr*>(&in), &size) != 0)
      std::abort();
    port_ = ntohs(in.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~Server() {
    shutdown(socket_, SHUT_RDWR);
    thread_.join();
    close(socket_);
  }
  std::string url(const std::string& path) const {
    return format("http://127.0.0.1:{}{}", port_, path);
  }

 private:
  void run() {
    for (int client; (client = accept(socket_, nullptr, nullptr)) >= 0; close(client)) {
      char request[2048] = "";
      const ssize_t got = recv(client, request, sizeof request - 1, 0);
      const std::string text(request, static_cast<size_t>(std::max<ssize_t>(got, 0)));
      const std::string path = text.substr(4, text.find(' ', 4) - 4);
      const auto found = answers_.find(path);
      if (found == answers_.end()) continue;  // hangs up
      std::string answer = found->second;
      if (const size_t at = answer.find("SELF"); at != std::string::npos)
        answer.replace(at, 4, url(""));
      send(client, answer.data(), answer.size(), MSG_NOSIGNAL);
    }
  }

  std::map<std::string, std::string> answers_;
  int socket_ = -1;
  uint16_t port_ = 0;
  std::thread thread_;
};

std::string ok(const std::string& body) {
  return "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body;
}
std::string redirect(const std::string& target) {
  return "HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\nLocation: " + target +
         "\r\n\r\n";
}

const Server& server() {
  static const Server one({{"/a", ok("picture")},
                           {"/long", ok(std::string(5000, 'x'))},
                           {"/stated", "HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\nx"},
                           {"/moved", redirect("/a")},
                           {"/moved-away", redirect("http://elsewhere.example/a")},
                           {"/moved-to-file", redirect("file:///etc/passwd")},
                           {"/loop", redirect("SELF/loop")},
                           {"/missing", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"},
                           {"/broken", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"}});
  return one;
}

FetchLimits open_limits() {
  return {.max_bytes = 1000,
          .timeout_ms = 3000,
          .allowed_domains = {"127.0.0.1"},
          .is_allowed_address = [](const sockaddr&) { return true; }};
}

Error error_of(const std::string& url, const FetchLimits& limits) {
  try {
    fetch_url(url, limits);
  } catch (const Error& e) {
    return e;
  }
  return Error(ErrorCode::internal, "no error");
}

TEST(Fetch, ReadsABodyAlsoBehindARedirect) {
  EXPECT_EQ(fetch_url(server().url("/a"), open_limits()), "picture");
  EXPECT_EQ(fetch_url(server().url("/moved"), open_limits()), "picture");
}

TEST(Fetch, RefusesAddressesThatAreNotPublic) {
  FetchLimits limits = open_limits();
  limits.is_allowed_address = is_public_address;
  const Error e = error_of(server().url("/a"), limits);
  EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
  EXPECT_THAT(e.message(), HasSubstr("not on the public internet"));
  limits.allowed_domains = {"*"};
  EXPECT_EQ(error_of("http://localhost:1/", limits).code(), ErrorCode::invalid_argument);
  EXPECT_EQ(error_of("http://2130706433:1/", limits).code(),
            ErrorCode::invalid_argument);  // 127.0.0.1 as one number
}

TEST(Fetch, RefusesHostsOutsideTheListAlsoAfterARedirect) {
  FetchLimits none = open_limits();
  none.allowed_domains.clear();
  EXPECT_THAT(error_of(server().url("/a"), none).message(), HasSubstr("no media domains"));
  EXPECT_THAT(error_of("http://elsewhere.example/", open_limits()).message(),
              HasSubstr("\"elsewhere.example\" is not allowed"));
  EXPECT_THAT(error_of(server().url("/moved-away"), open_limits()).message(),
              HasSubstr("\"elsewhere.example\" is not allowed"));
}

TEST(Fetch, StaysWithHttp) {
  EXPECT_EQ(error_of("file:///etc/passwd", open_limits()).code(), ErrorCode::invalid_argument);
  EXPECT_EQ(error_of("gopher://127.0.0.1/", open_limits()).code(), ErrorCode::invalid_argument);
  EXPECT_NE(error_of(server().url("/moved-to-file"), open_limits()).code(), ErrorCode::internal);
  EXPECT_THAT(error_of("http://user:word@127.0.0.1/", open_limits()).message(),
              HasSubstr("user name"));
  EXPECT_EQ(error_of("http://", open_limits()).code(), ErrorCode::invalid_argument);
}

TEST(Fetch, StopsAtItsLimits) {
  EXPECT_EQ(error_of(server().url("/long"), open_limits()).code(), ErrorCode::exhausted);
  EXPECT_EQ(error_of(server().url("/stated"), open_limits()).code(), ErrorCode::exhausted);
  EXPECT_THAT(error_of(server().url("/loop"), open_limits()).message(),
              HasSubstr("redirected more than 5 times"));
}

TEST(Fetch, SaysWhatTheServerAnswered) {
  EXPECT_EQ(error_of(server().url("/missing"), open_limits()).code(), ErrorCode::invalid_argument);
  EXPECT_EQ(error_of(server().url("/broken"), open_limits()).code(), ErrorCode::unavailable);
  EXPECT_EQ(error_of(server().url("/hang-up"), open_limits()).code(), ErrorCode::unavailable);
}

}  // namespace
}  // namespace quern
