// SPDX-License-Identifier: Apache-2.0
#include "base/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/error.h"

namespace quern {

// A job is published by raising `epoch`; workers spin on it for a short while and then sleep on the
// condition variable, so that an idle server costs nothing and a busy one pays no system call
// between two ops.
struct ThreadPool::State {
  static constexpr int kSpins = 2000;

  std::vector<std::thread> workers;
  int size = 1;

  std::mutex mutex;
  std::condition_variable wake;
  std::condition_variable done;
  std::atomic<uint64_t> epoch{0};
  std::atomic<bool> stopping{false};
  std::atomic<int> running{0};

  const Body* body = nullptr;
  int64_t count = 0;
  int64_t grain = 1;
  std::atomic<int64_t> next{0};

  void work(int worker) {
    for (;;) {
      const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= count) return;
      (*body)(begin, std::min(begin + grain, count), worker);
    }
  }

  void finish_one() {
    if (running.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    const std::lock_guard lock(mutex);
    done.notify_one();
  }

  void loop(int worker) {
    uint64_t seen = 0;
    for (;;) {
      for (int i = 0; i < kSpins && epoch.load(std::memory_order_acquire) == seen; ++i)
        __builtin_ia32_pause();
      if (epoch.load(std::memory_order_acquire) == seen) {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return epoch.load(std::memory_order_acquire) != seen; });
      }
      seen = epoch.load(std::memory_order_acquire);
      if (stopping.load(std::memory_order_acquire)) return;
      work(worker);
      finish_one();
    }
  }

  void publish() {
    const std::lock_guard lock(mutex);
    epoch.fetch_add(1, std::memory_order_acq_rel);
    wake.notify_all();
  }
};

namespace {
void pin_to(std::thread& thread, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  // Failing to pin (a container that forbids it) costs speed, not correctness.
  pthread_setaffinity_np(thread.native_handle(), sizeof set, &set);
}
}  // namespace

ThreadPool::ThreadPool(int threads, std::vector<int> cpus) : state_(std::make_unique<State>()) {
  if (threads < 1 || threads > 1024)
    fail(ErrorCode::invalid_argument, "{} threads: expected 1 to 1024", threads);
  state_->size = threads;
  for (int i = 1; i < threads; ++i) {
    state_->workers.emplace_back([this, i] { state_->loop(i); });
    if (!cpus.empty()) pin_to(state_->workers.back(), cpus[static_cast<size_t>(i) % cpus.size()]);
  }
}

ThreadPool::~ThreadPool() {
  state_->stopping = true;
  state_->publish();
  for (std::thread& t : state_->workers) t.join();
}

int ThreadPool::size() const {
  return state_->size;
}

void ThreadPool::parallel_for(int64_t count, int64_t grain, Body body) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  if (state_->workers.empty() || count <= grain) {
    for (int64_t begin = 0; begin < count; begin += grain)
      body(begin, std::min(begin + grain, count), 0);
    return;
  }
  State& s = *state_;
  s.body = &body;
  s.count = count;
  s.grain = grain;
  s.next.store(0, std::memory_order_relaxed);
  s.running.store(static_cast<int>(s.workers.size()), std::memory_order_release);
  s.publish();
  s.work(0);
  for (int i = 0; i < State::kSpins && s.running.load(std::memory_order_acquire) != 0; ++i)
    __builtin_ia32_pause();
  if (s.running.load(std::memory_order_acquire) == 0) return;
  std::unique_lock lock(s.mutex);
  s.done.wait(lock, [&] { return s.running.load(std::memory_order_acquire) == 0; });
}

}  // namespace quern
