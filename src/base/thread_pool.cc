// SPDX-License-Identifier: Apache-2.0
// One 64-bit ticket holds the whole state of a job: how many chunks nobody has claimed yet, and how
// many workers are inside. To claim is one compare-exchange; the job is over when the ticket is
// zero. Three things follow:
//  - a worker that claims nothing is never waited for: it may wake late, or not at all;
//  - the description of the job is read only by who has claimed a part of it, and stays as it is
//    until that part is done: a worker that wakes between two jobs can only ever run the new one;
//  - handing over to workers that spin costs one store. They spin for a bounded time and then sleep
//    on a futex, so that an idle process takes no CPU; only then does a job cost a system call.
#include "base/thread_pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <thread>

#include "base/error.h"

namespace quern {
namespace {

// Longer than what lies between two products of a decode step, shorter than what sleeping and
// waking costs a guest machine.
constexpr std::chrono::microseconds kSpin{50};

// Spins until `is_over()`, for kSpin at most; whether it was over.
template <typename IsOver>
bool spin(IsOver is_over) {
  constexpr int kPausesPerLook = 32;
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < kPausesPerLook; ++i) {
      if (is_over()) return true;
      __builtin_ia32_pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return is_over();
}

// A place to sleep. `wake` costs a load while nobody sleeps there. Sequentially consistent on both
// sides: either the sleeper sees what happened before `wake`, or `wake` sees the sleeper.
class Bed {
 public:
  template <typename IsOver>
  void sleep_until(IsOver is_over) {
    for (;;) {
      taken_.store(1);
      if (is_over()) return;
      syscall(SYS_futex, &taken_, FUTEX_WAIT_PRIVATE, 1, nullptr, nullptr, 0);
    }
  }

  void wake() {
    if (taken_.load() == 0) return;
    taken_.store(0);
    syscall(SYS_futex, &taken_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
  }

 private:
  static_assert(sizeof(std::atomic<uint32_t>) == 4);  // what the futex call reads
  std::atomic<uint32_t> taken_{0};
};

void pin_to(std::thread& thread, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  // Failing to pin (a container that forbids it) costs speed, not correctness.
  pthread_setaffinity_np(thread.native_handle(), sizeof set, &set);
}

}  // namespace

struct ThreadPool::State {
  // ticket = stop : 1 | workers inside : 15 | chunks unclaimed : 48
  static constexpr uint64_t kStop = uint64_t{1} << 63;
  static constexpr uint64_t kInside = uint64_t{1} << 48;
  static constexpr uint64_t kUnclaimed = kInside - 1;
  // Who claims takes this part of a thread's share of what is left: large runs first, because each
  // claim moves a cache line between cores, single chunks last, because they even out the end.
  static constexpr uint64_t kRunsPerThread = 4;

  alignas(64) std::atomic<uint64_t> ticket{0};
  alignas(64) Bed workers_bed;
  alignas(64) Bed callers_bed;

  alignas(64) std::vector<std::thread> workers;
  const Body* body = nullptr;
  int64_t count = 0, grain = 1;
  uint64_t chunks = 0;

  int size() const { return static_cast<int>(workers.size()) + 1; }

  // Claims and runs what it can; `entry` is added to the ticket with the first claim. Whether there
  // was one.
  bool work(int worker, uint64_t entry) {
    bool has_claimed = false;
    uint64_t seen = ticket.load(std::memory_order_relaxed);
    while (const uint64_t left = seen & kUnclaimed) {
      const uint64_t take =
          std::max<uint64_t>(1, left / (kRunsPerThread * static_cast<uint64_t>(size())));
      if (!ticket.compare_exchange_weak(seen, seen + entry - take, std::memory_order_acquire))
        continue;
      has_claimed = true;
      entry = 0;
      run(static_cast<int64_t>(chunks - left), static_cast<int64_t>(take), worker);
      seen = ticket.load(std::memory_order_relaxed);
    }
    return has_claimed;
  }

  void run(int64_t chunk, int64_t chunk_count, int worker) {
    const int64_t end = std::min((chunk + chunk_count) * grain, count);
    for (int64_t begin = chunk * grain; begin < end; begin += grain)
      (*body)(begin, std::min(begin + grain, end), worker);
  }

  void loop(int worker) {
    const auto has_news = [this] { return (ticket.load() & (kStop | kUnclaimed)) != 0; };
    for (;;) {
      if (!spin(has_news)) workers_bed.sleep_until(has_news);
      if ((ticket.load(std::memory_order_relaxed) & kStop) != 0) return;
      // The last one out tells the caller.
      if (work(worker, kInside) && ticket.fetch_sub(kInside) == kInside) callers_bed.wake();
    }
  }

  void publish(uint64_t news) {
    ticket.store(news);
    workers_bed.wake();
  }

  void wait() {
    const auto is_over = [this] { return ticket.load() == 0; };
    if (!spin(is_over)) callers_bed.sleep_until(is_over);
  }
};

ThreadPool::ThreadPool(int threads, std::vector<int> cpus) : state_(std::make_unique<State>()) {
  if (threads < 1 || threads > 1024)
    fail(ErrorCode::invalid_argument, "{} threads: expected 1 to 1024", threads);
  State& s = *state_;
  s.workers.resize(static_cast<size_t>(threads - 1));  // of its final size before a worker reads it
  for (int i = 1; i < threads; ++i) {
    std::thread& worker = s.workers[static_cast<size_t>(i - 1)];
    worker = std::thread([&s, i] { s.loop(i); });
    if (!cpus.empty()) pin_to(worker, cpus[static_cast<size_t>(i) % cpus.size()]);
  }
}

ThreadPool::~ThreadPool() {
  state_->publish(State::kStop);
  for (std::thread& t : state_->workers) t.join();
}

int ThreadPool::size() const {
  return state_->size();
}

void ThreadPool::parallel_for(int64_t count, int64_t grain, Body body) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  State& s = *state_;
  if (s.workers.empty() || count <= grain) {
    for (int64_t begin = 0; begin < count; begin += grain)
      body(begin, std::min(begin + grain, count), 0);
    return;
  }
  s.body = &body;
  s.count = count;
  s.grain = grain;
  s.chunks = static_cast<uint64_t>((count - 1) / grain + 1);
  QUERN_CHECK(s.chunks <= State::kUnclaimed, "{} items by {}", count, grain);
  s.publish(s.chunks);
  s.work(0, 0);
  s.wait();
}

}  // namespace quern
