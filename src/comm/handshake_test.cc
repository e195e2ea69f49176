// SPDX-License-Identifier: Apache-2.0
#include "comm/handshake.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/clock.h"
#include "base/error.h"

namespace quern {
namespace {

using testing::HasSubstr;

constexpr int kMs = 5'000;
const Credentials kOwn{"0123456789abcdef", "build-1"};

// What the listener says of a connector that does `act`; the hello if it is welcome.
std::string judge(const std::function<void(const Socket&)>& act, int timeout_ms = kMs) {
  TcpListener listener({"127.0.0.1", 0});
  std::thread connector([&] {
    const Socket socket = connect_to(listener.address(), kMs);
    act(socket);
  });
  std::string out;
  {
    const Socket socket = listener.accept(kMs);
    try {
      out = welcome(socket, kOwn, timeout_ms);
    } catch (const Error& e) {
      out = e.what();
    }
  }
  connector.join();
  return out;
}

// What the connector says when it introduces itself with `theirs`.
std::string introduction(const Credentials& theirs, std::string& heard) {
  std::string said = "welcome";
  heard = judge([&](const Socket& socket) {
    try {
      introduce(socket, theirs, "rank 3", kMs);
    } catch (const Error& e) {
      said = e.what();
    }
  });
  return said;
}

TEST(Handshake, OfFriends) {
  std::string heard;
  EXPECT_EQ(introduction(kOwn, heard), "welcome");
  EXPECT_EQ(heard, "rank 3");
}

TEST(Handshake, AnotherSecretIsRefused) {
  std::string heard;
  EXPECT_THAT(introduction({"0123456789abcdeX", "build-1"}, heard), HasSubstr("another secret"));
  EXPECT_THAT(heard, HasSubstr("closed"));  // who knows the secret noticed first, and left
}

TEST(Handshake, AnotherBuildIsRefusedByName) {
  std::string heard;
  EXPECT_THAT(introduction({kOwn.secret, "build-2"}, heard),
              HasSubstr("another build (build-1; this one is build-2)"));
  EXPECT_THAT(heard, HasSubstr("another build (build-2; this one is build-1)"));
}

TEST(Handshake, GarbageIsRefused) {
  const auto write = [](std::string bytes) {
    return [bytes](const Socket& socket) {
      try {
        socket.write_all(bytes, MonotonicClock().now_us() + 1'000'000);
        char end = 0;
        socket.read_all(&end, 1, MonotonicClock().now_us() + 1'000'000);
      } catch (const Error&) {
      }
    };
  };
  EXPECT_THAT(judge(write(std::string(500, 'x'))), HasSubstr("not a rank"));
  EXPECT_THAT(judge(write("GET / HTTP/1.1\r\n"), 50), HasSubstr("no answer in time"));
  EXPECT_THAT(judge([](const Socket&) {}), HasSubstr("closed"));
}

TEST(HostPort, IsParsed) {
  EXPECT_EQ(HostPort::parse("10.0.0.1:29500", "x").text(), "10.0.0.1:29500");
  EXPECT_EQ(HostPort::parse("[::1]:1", "x").host, "::1");
  for (const char* wrong : {"", "host", ":1", "a:b", "a:99999", "a:1x", "a:-1"})
    EXPECT_THROW(HostPort::parse(wrong, "x"), Error) << wrong;
}

TEST(TcpListener, TakesNoWildcard) {
  for (const char* host : {"0.0.0.0", "::"}) EXPECT_THROW(TcpListener({host, 0}), Error) << host;
  EXPECT_THROW(TcpListener({"192.0.2.1", 0}), Error);  // not this machine's
  const TcpListener taken({"127.0.0.1", 0});
  EXPECT_THROW(TcpListener{taken.address()}, Error);
}

}  // namespace
}  // namespace quern
