// SPDX-License-Identifier: Apache-2.0
#include "bench/machine.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/format.h"

namespace quern::bench {
namespace {

namespace fs = std::filesystem;

double ticks(double count) {
  return count / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// Seconds that all CPUs together were busy since the start of the machine.
double machine_seconds() {
  std::ifstream in("/proc/stat");
  std::string label;
  double user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0;
  in >> label >> user >> nice >> system >> idle >> iowait >> irq >> softirq >> steal;
  return ticks(user + nice + system + irq + softirq + steal);
}

double seconds_of(int who) {
  rusage usage{};
  getrusage(who, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

// 0 for a process that is gone. Its name may hold anything: the fields are counted from its end.
double seconds_of_process(pid_t pid) {
  std::ifstream in(format("/proc/{}/stat", pid));
  std::string text(std::istreambuf_iterator<char>(in), {});
  const size_t end = text.rfind(')');
  double user = 0, system = 0;
  if (end == std::string::npos ||
      std::sscanf(text.c_str() + end + 1,
                  " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lf %lf",
                  &user,
                  &system) != 2)
    return 0;
  return ticks(user + system);
}

// The folder of the training's state in `start` or above it; empty if there is none.
fs::path training_above(fs::path start) {
  for (std::error_code failure; !start.empty(); start = start.parent_path()) {
    if (const fs::path state = start / "training/state/sight"; fs::is_directory(state, failure))
      return state;
    if (start == start.root_path()) break;
  }
  return {};
}

fs::path training_state() {
  std::error_code failure;
  const fs::path here = training_above(fs::current_path(failure));
  return here.empty() ? training_above(fs::read_symlink("/proc/self/exe", failure)) : here;
}

// For the signal handler: it may read these and call unlink, little else.
char mark_path[4096];
struct sigaction previous_actions[2];
constexpr int kSignals[2] = {SIGINT, SIGTERM};

void unmark_and_end(int signal) {
  unlink(mark_path);
  std::signal(signal, SIG_DFL);
  raise(signal);
}

}  // namespace

NoiseMeter::NoiseMeter(std::vector<pid_t> own)
    : own_(std::move(own)),
      begin_us_(clock_.now_us()),
      all_(machine_seconds()),
      mine_(own_seconds()) {}

double NoiseMeter::own_seconds() const {
  double sum = seconds_of(RUSAGE_SELF) + seconds_of(RUSAGE_CHILDREN);
  for (const pid_t pid : own_) sum += seconds_of_process(pid);
  return sum;
}

Json NoiseMeter::read() const {
  const double wall = std::max(1e-6, static_cast<double>(clock_.now_us() - begin_us_) * 1e-6);
  const double own = own_seconds() - mine_;
  return {{"wall_s", wall},
          {"own_cpu_s", own},
          {"other_cores", std::max(0.0, (machine_seconds() - all_ - own) / wall)}};
}

QuietMachine::QuietMachine() {
  const fs::path state = training_state();
  const std::string mark = (state / "pause").string();
  if (state.empty() || mark.size() >= sizeof mark_path) return;
  const int file = open(mark.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
  if (file < 0) return;  // paused already, by someone who will end the pause
  close(file);
  std::memcpy(mark_path, mark.c_str(), mark.size() + 1);
  struct sigaction action = {};
  action.sa_handler = unmark_and_end;
  for (int i = 0; i < 2; ++i) sigaction(kSignals[i], &action, &previous_actions[i]);
  std::fprintf(stderr, "quern: background training is paused (%s)\n", mark.c_str());
}

QuietMachine::~QuietMachine() {
  if (mark_path[0] == '\0') return;
  for (int i = 0; i < 2; ++i) sigaction(kSignals[i], &previous_actions[i], nullptr);
  unlink(mark_path);
  mark_path[0] = '\0';
  std::fprintf(stderr, "quern: background training may go on\n");
}

}  // namespace quern::bench
