// SPDX-License-Identifier: Apache-2.0
#include "comm/net_probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "base/error.h"

namespace quern {
namespace {

using testing::HasSubstr;

// What the answering end says when the asking one does `act`; "done" if nothing.
std::string answered(const std::function<void(const Socket&)>& act, int timeout_ms = 10'000) {
  TcpListener listener({"127.0.0.1", 0});
  std::string out = "done";
  std::thread answering([&] {
    const Socket socket = listener.accept(5'000);
    try {
      answer_probe(socket, deadline_after(timeout_ms));
    } catch (const Error& e) {
      out = e.what();
    }
  });
  {
    const Socket socket = connect_to(listener.address(), 5'000);
    act(socket);
  }
  answering.join();
  return out;
}

TEST(NetProbe, MeasuresAWay) {
  LinkSpeed speed;
  EXPECT_EQ(answered([&](const Socket& s) { speed = measure_link(s, deadline_after(10'000)); }),
            "done");
  EXPECT_GT(speed.round_trip_s, 0);
  EXPECT_LT(speed.round_trip_s, 1);
  EXPECT_GT(speed.bytes_per_s, 1e6);
}

TEST(NetProbe, OtherWordsEndIt) {
  EXPECT_THAT(answered([](const Socket& s) { s.write_all("x", deadline_after(1'000)); }),
              HasSubstr("a probe says 0x78"));
  EXPECT_THAT(answered([](const Socket& s) {
                s.write_all("s\xff\xff\xff\xff\xff\xff\xff\x7f", deadline_after(1'000));
              }),
              HasSubstr("a probe announces"));
  EXPECT_THAT(answered([](const Socket& s) { s.write_all("p", deadline_after(1'000)); }),
              HasSubstr("the other side closed"));
}

TEST(NetProbe, NothingWaitsForLonger) {
  EXPECT_THAT(
      answered([](const Socket&) { std::this_thread::sleep_for(std::chrono::milliseconds(300)); },
               50),
      HasSubstr("no answer in time"));
}

}  // namespace
}  // namespace quern
