// SPDX-License-Identifier: Apache-2.0
#include "replicas.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "cpu_sets.h"
#include "engine/loss_window.h"
#include "exit_codes.h"
#include "ray_launch.h"

namespace quern {
namespace {

constexpr const char* kVariable = "QUERN_REPLICA";  // "NUMBER/COUNT/PARENT"
constexpr int kReadyFd = 3;
constexpr size_t kMostLine = 4096;
constexpr int kGentleMs = 30'000;
constexpr auto kLook = std::chrono::milliseconds(50);
constexpr auto kDrain = std::chrono::minutes(10);

// Up to the first line's end, or all of it.
std::string read_line(int fd) {
  std::string out;
  char c = 0;
  for (ssize_t n; out.size() < kMostLine && (n = read(fd, &c, 1)) != 0;) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 || c == '\n') break;
    out += c;
  }
  return out;
}

}  // namespace

std::optional<ReplicaPlace> replica_place() {
  const char* text = std::getenv(kVariable);
  if (text == nullptr) return std::nullopt;
  ReplicaPlace out;
  if (std::sscanf(text, "%d/%d/%d", &out.number, &out.count, &out.parent) != 3 || out.count < 1)
    fail(ErrorCode::invalid_argument, "${}: not for setting by hand", kVariable);
  return out;
}

void settle_replica(const ReplicaPlace& place, ModelOptions& model, ServerConfig& server) {
  // Under Ray the parent is the launcher, whose end ends this.
  if (!is_under_ray() && !die_with(place.parent, SIGTERM))
    fail(ErrorCode::unavailable, "replica {}: its parent has ended", place.number);
  server.host = "127.0.0.1";
  server.port = 0;
  server.tls = {};
  model.data_parallel_size = 1;
  if (model.executor_backend == "ray") return;  // machines of its own
  bind_process(divide_cpus(probe_topology(), place.count)[static_cast<size_t>(place.number)]);
  model.memory_utilization /= place.count;
}

void report_replica(const std::string& ready_line) {
  const std::string line = ready_line + "\n";
  if (write(kReadyFd, line.data(), line.size()) < 0)
    log(LogLevel::warn, "replica: nobody hears that it is ready");
}

ReplicaSet::ReplicaSet(ReplicaRouter& router, std::vector<std::string> arguments)
    : router_(router),
      arguments_(std::move(arguments)),
      replicas_(static_cast<size_t>(router.count())) {}

ReplicaSet::~ReplicaSet() {
  stop();
}

std::shared_ptr<ChildProcess> ReplicaSet::spawn(int number, int& pipe) {
  std::shared_ptr<ChildProcess> child;
  int fds[2];
  {
    const std::lock_guard lock(mutex_);  // the variable is this process's
    if (is_stopping_) return nullptr;    // else stop() sees the child
    if (pipe2(fds, O_CLOEXEC) != 0) fail(ErrorCode::unavailable, "replica {}: no pipe", number);
    setenv(kVariable, format("{}/{}/{}", number, router_.count(), getpid()).c_str(), 1);
    child = std::make_shared<ChildProcess>(ChildProcess::Start{
        .arguments = arguments_, .fds = {fds[1]}, .label = format("replica {}: ", number)});
    replicas_[static_cast<size_t>(number)].child = child;
  }
  close(fds[1]);
  pipe = fds[0];
  return child;
}

// A thread for each replica, for as long as it is to serve.
void ReplicaSet::keep(int number) {
  Replica& replica = replicas_[static_cast<size_t>(number)];
  LossWindow losses;
  while (!is_stopping_) {
    int pipe = -1;
    const std::shared_ptr<ChildProcess> child = spawn(number, pipe);
    if (!child) return;
    const std::string line = read_line(pipe);
    if (!line.empty()) {
      router_.set_port(number, parse_json(line, "a replica's word").at("port").get<int>());
      log(LogLevel::info, "replica {} serves, pid {}", number, child->pid());
      changed_.notify_all();
      (void)read_line(pipe);  // until it ends
    }
    close(pipe);
    router_.set_port(number, 0);
    const std::string how = child->end_gently(is_stopping_ ? kGentleMs : 1'000);
    const std::lock_guard lock(mutex_);
    if (std::exchange(replica.is_renewed, false) || is_stopping_) continue;
    log(LogLevel::error, "replica {} is lost: it {}", number, how);
    const int code = child->exit_code();
    if (line.empty() && code >= kExitUsage && code <= kExitPortInUse) replica.refusal = code;
    losses.add(MonotonicClock().now_us());
    if (losses.is_full()) replica.refusal = kExitTemporary;
    if (replica.refusal == 0) continue;
    log(LogLevel::error, "replica {} is given up", number);
    changed_.notify_all();
    return;
  }
}

bool ReplicaSet::is_up_or_lost(int number) {
  return router_.port_of(number) != 0 || replicas_[static_cast<size_t>(number)].refusal != 0 ||
         is_stopping_;
}

int ReplicaSet::start() {
  for (int i = 0; i < router_.count(); ++i)
    replicas_[static_cast<size_t>(i)].keeper = std::thread([this, i] { keep(i); });
  std::unique_lock lock(mutex_);
  for (bool are_all_up = false; !are_all_up; changed_.wait_for(lock, kLook)) {
    are_all_up = true;
    for (int i = 0; i < router_.count(); ++i) {
      if (const int code = replicas_[static_cast<size_t>(i)].refusal; code != 0) return code;
      are_all_up = are_all_up && is_up_or_lost(i);
    }
  }
  return 0;
}

void ReplicaSet::renew() {
  const std::lock_guard one(renewing_);
  for (int i = 0; i < router_.count() && !is_stopping_; ++i) {
    log(LogLevel::info, "replica {} is renewed: {} requests are running", i, router_.running(i));
    router_.set_port(i, 0);
    const auto until = std::chrono::steady_clock::now() + kDrain;
    while (router_.running(i) > 0 && !is_stopping_ && std::chrono::steady_clock::now() < until)
      std::this_thread::sleep_for(kLook);
    std::shared_ptr<ChildProcess> child;
    {
      const std::lock_guard lock(mutex_);
      replicas_[static_cast<size_t>(i)].is_renewed = true;
      child = replicas_[static_cast<size_t>(i)].child;
    }
    child->end_gently(kGentleMs);
    std::unique_lock lock(mutex_);
    while (!is_up_or_lost(i)) changed_.wait_for(lock, kLook);
    if (router_.port_of(i) != 0) continue;
    if (!is_stopping_) log(LogLevel::error, "replica {} did not come back: the others stay", i);
    return;
  }
}

void ReplicaSet::stop() {
  is_stopping_ = true;
  for (Replica& replica : replicas_) {
    std::shared_ptr<ChildProcess> child;
    {
      const std::lock_guard lock(mutex_);
      child = replica.child;
    }
    if (child) child->ask_to_end();
  }
  for (Replica& replica : replicas_)
    if (replica.keeper.joinable()) replica.keeper.join();
}

}  // namespace quern
