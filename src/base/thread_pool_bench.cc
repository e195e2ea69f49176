// SPDX-License-Identifier: Apache-2.0
// What handing a job over costs, and what remains of a pool's speed when another process spins on
// one of its cores.
#include <benchmark/benchmark.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <vector>

#include "base/clock.h"
#include "base/thread_pool.h"

namespace quern {
namespace {

constexpr int kThreads = 2;
constexpr int kAnyCpu = -1;

// Another process that never pauses, on one CPU or wherever the scheduler puts it.
class BusyProcess {
 public:
  explicit BusyProcess(int cpu) : pid_(fork()) {
    if (pid_ == 0) spin(cpu);
  }
  ~BusyProcess() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  BusyProcess(const BusyProcess&) = delete;
  BusyProcess& operator=(const BusyProcess&) = delete;

 private:
  [[noreturn]] static void spin(int cpu) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<size_t>(std::max(cpu, 0)), &set);
    if (cpu != kAnyCpu) sched_setaffinity(0, sizeof set, &set);
    for (;;) asm volatile("");
  }
  pid_t pid_;
};

// Work that stays in registers: it measures the hand-over, not the memory.
void multiply(int64_t steps) {
  double x = 1.0000001;
  for (int64_t i = 0; i < steps; ++i) {
    x *= 1.0000001;
    benchmark::DoNotOptimize(x);
  }
}

// Steps of multiply() that one thread does in a microsecond.
double steps_per_us() {
  constexpr int64_t kSteps = 200'000;
  const MonotonicClock clock;
  int64_t best = INT64_MAX;
  for (int i = 0; i < 20; ++i) {
    const int64_t begin = clock.now_us();
    multiply(kSteps);
    best = std::min(best, clock.now_us() - begin);
  }
  return static_cast<double>(kSteps) / static_cast<double>(best);
}

// From the call until all threads have met in the job, and back. `pause_us` before each call: long
// ones find the workers asleep.
void hand_over(benchmark::State& state) {
  ThreadPool pool(kThreads);
  const auto pause_steps =
      static_cast<int64_t>(steps_per_us() * static_cast<double>(state.range(0)));
  for (auto _ : state) {
    state.PauseTiming();
    multiply(pause_steps);
    state.ResumeTiming();
    std::atomic<int> inside{0};
    pool.parallel_for(kThreads, 1, [&](int64_t, int64_t, int) {
      inside.fetch_add(1);
      while (inside.load() < kThreads) __builtin_ia32_pause();
    });
  }
}
BENCHMARK(hand_over)->ArgName("pause_us")->Arg(0)->Arg(20)->Arg(1000)->UseRealTime();

// A job of the size that decoding publishes (100 us on all threads) or prefill does (4 ms), in many
// chunks, over and over; jobs per second in windows of 100 ms.
class Load {
 public:
  Load(int64_t job_us, int64_t chunks)
      : job_us_(job_us),
        chunks_(chunks),
        steps_(static_cast<int64_t>(steps_per_us() * static_cast<double>(job_us * kThreads) /
                                    static_cast<double>(chunks))) {}

  double jobs_per_second() {
    const MonotonicClock clock;
    const int64_t begin = clock.now_us(), window = std::max<int64_t>(100'000, 25 * job_us_);
    int64_t jobs = 0, end = begin;
    for (; end - begin < window; end = clock.now_us(), ++jobs)
      pool_.parallel_for(
          chunks_, 1, [&](int64_t first, int64_t last, int) { multiply(steps_ * (last - first)); });
    return static_cast<double>(jobs) * 1e6 / static_cast<double>(end - begin);
  }

 private:
  ThreadPool pool_{kThreads};
  int64_t job_us_, chunks_, steps_;
};

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
  return values[values.size() / 2];
}

// `share` is of the speed that two undisturbed cores would have; `kept` compares windows with the
// busy process to windows without, taken in turn. Meant for a machine with two free cores.
void foreign_process(benchmark::State& state) {
  Load load(state.range(0), state.range(1));
  std::vector<double> quiet, disturbed;
  for (auto _ : state) {
    quiet.push_back(load.jobs_per_second());
    const BusyProcess busy(static_cast<int>(state.range(2)));
    disturbed.push_back(load.jobs_per_second());
  }
  const double ideal = 1e6 / static_cast<double>(state.range(0));
  state.counters["quiet_share"] = median(quiet) / ideal;
  state.counters["disturbed_share"] = median(disturbed) / ideal;
  state.counters["kept"] = median(disturbed) / median(quiet);
}
BENCHMARK(foreign_process)
    ->ArgNames({"job_us", "chunks", "cpu"})
    ->ArgsProduct({{100}, {64}, {kAnyCpu, 0, 1}})
    ->ArgsProduct({{4000}, {40}, {kAnyCpu, 0, 1}})
    ->Iterations(10)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace quern
