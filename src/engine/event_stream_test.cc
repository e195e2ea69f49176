// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <thread>

#include "engine/request.h"

namespace quern {
namespace {

TokenEvent token(int32_t id) {
  TokenEvent event;
  event.token = id;
  return event;
}

TEST(EventStream, KeepsTheOrderAndEnds) {
  EventStream stream;
  stream.push(token(1));
  stream.push(token(2));
  stream.close();
  stream.push(token(3));  // after the end: nobody would read it
  TokenEvent event;
  EXPECT_TRUE(stream.pop(event, 0));
  EXPECT_EQ(event.token, 1);
  EXPECT_FALSE(stream.is_finished());
  EXPECT_TRUE(stream.try_pop(event));
  EXPECT_EQ(event.token, 2);
  EXPECT_TRUE(stream.is_finished());
  EXPECT_FALSE(stream.pop(event, 10'000)) << "an ended stream does not wait";
}

TEST(EventStream, TellsWhenItHasRoomAgain) {
  EventStream stream(2);
  int calls = 0;
  stream.set_on_room([&] { ++calls; });
  TokenEvent event;
  stream.push(token(1));
  EXPECT_TRUE(stream.has_room());
  stream.try_pop(event);
  EXPECT_EQ(calls, 0);
  for (int i = 0; i < 3; ++i) stream.push(token(i));
  EXPECT_FALSE(stream.has_room());
  stream.try_pop(event);
  EXPECT_EQ(calls, 0);
  stream.try_pop(event);
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(stream.has_room());
}

TEST(EventStream, NotifiesOnEventsAndEnd) {
  EventStream stream;
  int calls = 0;
  stream.set_notify([&] {
    ++calls;
    TokenEvent event;
    stream.try_pop(event);  // no lock is held
  });
  stream.push(token(1));
  stream.close();
  EXPECT_EQ(calls, 2);
  EXPECT_TRUE(stream.is_finished());
  stream.set_notify({});
}

TEST(EventStream, CarriesEventsBetweenThreads) {
  EventStream stream(4);
  std::thread engine([&] {
    for (int32_t i = 0; i < 1000; ++i) {
      while (!stream.has_room()) std::this_thread::yield();
      stream.push(token(i));
    }
    stream.close();
  });
  TokenEvent event;
  for (int32_t i = 0; i < 1000; ++i) {
    ASSERT_TRUE(stream.pop(event, 10'000));
    ASSERT_EQ(event.token, i);
  }
  EXPECT_FALSE(stream.pop(event, 10'000));
  engine.join();
}

}  // namespace
}  // namespace quern
