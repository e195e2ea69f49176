// SPDX-License-Identifier: Apache-2.0
// The kernel pool of a rank. Its only verb is parallel_for. Between jobs its threads spin for some
// tens of microseconds and then sleep.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/function_ref.h"

namespace quern {

class ThreadPool {
 public:
  // body(begin, end, worker): items [begin, end); worker in [0, size()) names the thread, for
  // per-thread scratch.
  using Body = FunctionRef<void(int64_t begin, int64_t end, int worker)>;

  // `threads` includes the calling thread; 1 runs everything on the caller. `cpus`, if not empty,
  // pins thread i to cpus[i % cpus.size()] (the caller is not pinned). Throws invalid_argument if
  // threads is outside 1..1024.
  explicit ThreadPool(int threads, std::vector<int> cpus = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;
  // Runs body over [0, count) in chunks of `grain` items, handed out dynamically; returns when all
  // are done. Which thread gets which chunk varies: the result of a kernel may not depend on it.
  // Waits for chunks that are being run, never for a thread that has not begun one: a worker whose
  // core is taken by another process costs its share of the work, not the job.
  // Not reentrant; one caller at a time. `body` must not throw.
  void parallel_for(int64_t count, int64_t grain, Body body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace quern
