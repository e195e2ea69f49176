// SPDX-License-Identifier: Apache-2.0
#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <thread>

#include "base/clock.h"
#include "base/error.h"

namespace quern {
namespace {

TEST(ThreadPool, CoversEveryItemOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (const int64_t count : {0, 1, 7, 1000}) {
      std::vector<int> hits(static_cast<size_t>(count));
      for (int repeat = 0; repeat < 50; ++repeat)
        pool.parallel_for(count, 3, [&](int64_t begin, int64_t end, int worker) {
          ASSERT_LT(worker, threads);
          ASSERT_LE(end - begin, 3);
          for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
        });
      EXPECT_EQ(std::accumulate(hits.begin(), hits.end(), int64_t{0}), 50 * count);
    }
  }
}

// Jobs of changing bodies follow each other so closely that workers come in the middle of later
// ones. Each body lives only as long as its job, and checks that it is its own.
TEST(ThreadPool, ALateWorkerNeverRunsAStaleBody) {
  ThreadPool pool(4);
  std::atomic<int64_t> current{0};
  int64_t by_workers = 0;
  for (int64_t job = 1; job <= 5000; ++job) {
    current.store(job, std::memory_order_relaxed);
    std::vector<int64_t> seen(static_cast<size_t>(2 + job % 5), 0), by(seen.size(), 0);
    const auto body = [&, job](int64_t i, int64_t, int worker) {
      if (job % 8 == 0) std::this_thread::yield();  // lets the others in
      seen[static_cast<size_t>(i)] = current.load(std::memory_order_relaxed) == job ? job : -1;
      by[static_cast<size_t>(i)] = worker;
    };
    pool.parallel_for(static_cast<int64_t>(seen.size()), 1, body);
    for (const int64_t s : seen) ASSERT_EQ(s, job);
    by_workers += std::ranges::count_if(by, [](int64_t worker) { return worker > 0; });
  }
  EXPECT_GT(by_workers, 100);
  RecordProperty("chunks_by_workers", static_cast<int>(by_workers));
}

// Every thread waits in its chunk for all others: only a pool that wakes sleepers gets past.
TEST(ThreadPool, WakesWhoSleeps) {
  constexpr int kThreads = 3;
  ThreadPool pool(kThreads);
  const MonotonicClock clock;
  for (int repeat = 0; repeat < 20; ++repeat) {
    std::atomic<int> inside{0};
    pool.parallel_for(kThreads, 1, [&](int64_t, int64_t, int) {
      ++inside;
      while (inside < kThreads) std::this_thread::yield();
    });
    EXPECT_EQ(inside, kThreads);
    // Longer than any spin, so that the next round finds them asleep.
    for (const int64_t end = clock.now_us() + 500; clock.now_us() < end;) std::this_thread::yield();
  }
}

TEST(ThreadPool, SleepsWhenIdle) {
  ThreadPool pool(3);
  pool.parallel_for(1000, 1, [](int64_t, int64_t, int) {});
  const auto cpu_us = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 + usage.ru_utime.tv_usec +
           usage.ru_stime.tv_usec;
  };
  const int64_t before = cpu_us();
  const timespec pause{.tv_sec = 0, .tv_nsec = 60'000'000};
  nanosleep(&pause, nullptr);
  EXPECT_LT(cpu_us() - before, 15'000);  // two spinning workers would take up to 120,000
}

TEST(ThreadPool, RefusesImpossibleSizes) {
  EXPECT_THROW(ThreadPool(0), Error);
  EXPECT_THROW(ThreadPool(1025), Error);
  EXPECT_EQ(ThreadPool(3).size(), 3);
}

}  // namespace
}  // namespace quern
