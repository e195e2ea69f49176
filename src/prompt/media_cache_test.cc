// SPDX-License-Identifier: Apache-2.0
#include "prompt/media_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

namespace quern {
namespace {

MediaKey key_of(std::initializer_list<std::string_view> pieces) {
  MediaKeyMaker maker;
  for (const std::string_view piece : pieces) maker.add(std::as_bytes(std::span(piece)));
  return maker.key();
}

MediaCache::Value medium(int64_t width) {
  ResizedMedia out;
  out.frames.push_back({width, 1, std::vector<uint8_t>(static_cast<size_t>(width) * 3)});
  return std::make_shared<const SharedMedia>(std::move(out));
}

size_t size_of(int64_t width) {
  return medium(width)->resized().bytes();
}

TEST(MediaKey, DependsOnEveryPieceAndItsBorders) {
  EXPECT_EQ(key_of({"ab", "c"}), key_of({"ab", "c"}));
  EXPECT_NE(key_of({"ab", "c"}), key_of({"a", "bc"}));
  EXPECT_NE(key_of({"abc"}), key_of({"abc", ""}));
}

TEST(MediaCache, MakesOnceAndKeeps) {
  MediaCache cache(size_of(1000) * 4);
  int made = 0;
  const auto make = [&] { return ++made, medium(1000); };
  const MediaCache::Value first = cache.find_or_make(key_of({"a"}), make);
  EXPECT_EQ(cache.find_or_make(key_of({"a"}), make), first);
  EXPECT_NE(cache.find_or_make(key_of({"b"}), make), first);
  EXPECT_EQ(made, 2);
  EXPECT_EQ(cache.stats().queries, 3);
  EXPECT_EQ(cache.stats().hits, 1);
  EXPECT_EQ(cache.stats().bytes, 2 * size_of(1000));
}

TEST(MediaCache, TheLeastRecentlyUsedGoesFirst) {
  MediaCache cache(size_of(1000) * 2);
  int made = 0;
  const auto ask = [&](std::string_view name, int64_t width = 1000) {
    cache.find_or_make(key_of({name}), [&] { return ++made, medium(width); });
  };
  ask("a"), ask("b"), ask("a"), ask("c");  // b goes
  EXPECT_EQ(made, 3);
  ask("a"), ask("c");
  EXPECT_EQ(made, 3);
  ask("b");
  EXPECT_EQ(made, 4);
  ask("huge", 10'000), ask("huge", 10'000);  // never kept, and nobody goes for it
  EXPECT_EQ(made, 6);
  ask("b");
  EXPECT_EQ(made, 6);
  EXPECT_LE(cache.stats().bytes, size_of(1000) * 2);
}

TEST(MediaCache, ManyAtOnceDecodeOnce) {
  MediaCache cache(1 << 20);
  std::atomic<int> made{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&] {
      cache.find_or_make(key_of({"a"}), [&] {
        ++made;
        usleep(100'000);
        return medium(10);
      });
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(made, 1);
  EXPECT_EQ(cache.stats().hits, 7);
}

TEST(MediaCache, AnErrorIsForAllWhoWaitAndIsNotKept) {
  MediaCache cache(1 << 20);
  std::atomic<int> made{0}, failed{0};
  const auto make = [&]() -> MediaCache::Value {
    ++made;
    usleep(100'000);
    fail(ErrorCode::unsupported, "no such format");
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      try {
        with_context(format("request {}", t), [&] { cache.find_or_make(key_of({"a"}), make); });
      } catch (const Error& e) {
        failed += e.what() == format("request {}: no such format", t);
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failed, 4);
  EXPECT_EQ(cache.find_or_make(key_of({"a"}), [] { return medium(1); })->resized().frames.size(),
            1u);
  EXPECT_THROW(cache.find_or_make(key_of({"b"}), []() -> MediaCache::Value { throw 5; }), int);
  EXPECT_NO_THROW(cache.find_or_make(key_of({"b"}), [] { return medium(1); }));
}

TEST(SharedMedia, ValuesAreSharedWhileSomebodyHoldsThem) {
  const MediaCache::Value shared = medium(10);
  int packed = 0;
  const auto pack = [&](const ResizedMedia&) {
    ++packed;
    return std::vector<MediaPiece>{{.input = std::make_shared<const MediaInput>()},
                                   {.input = std::make_shared<const MediaInput>()}};
  };
  std::shared_ptr<const MediaInput> second = shared->pieces(pack)[1].input;  // holds both
  EXPECT_EQ(shared->pieces(pack)[1].input, second);
  EXPECT_EQ(packed, 1);
  second.reset();
  shared->pieces(pack);
  EXPECT_EQ(packed, 2);
}

}  // namespace
}  // namespace quern
