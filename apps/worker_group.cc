// SPDX-License-Identifier: Apache-2.0
#include "worker_group.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "child_process.h"
#include "fd_port.h"
#include "rank_links.h"

namespace quern {
namespace {

constexpr int kMeetMs = 30'000;  // for what takes milliseconds
constexpr int kLoadMs =
    3'600'000;  // a large model from a slow disk; whoever stops is noticed sooner
constexpr double kMib = 1024.0 * 1024.0;

// A worker of this machine.
class LocalWorker final : public WorkerHandle {
 public:
  LocalWorker(int rank, int own_fd, int childs_fd, std::vector<int> regions)
      : port_(own_fd), process_(start_of(rank, childs_fd, std::move(regions))) {}

  void send(std::string_view message) override { port_.send(message); }
  bool receive(std::string& message, int timeout_ms) override {
    return port_.receive(message, timeout_ms);
  }
  std::string place() const override { return format("this host, pid {}", process_.pid()); }
  std::string end() override { return process_.end(); }

 private:
  static ChildProcess::Start start_of(int rank, int childs_fd, std::vector<int> regions) {
    regions.insert(regions.begin(), childs_fd);
    return {.arguments = {"worker", "--parent", std::to_string(getpid())},
            .fds = std::move(regions),
            .label = format("[rank {}] ", rank)};
  }

  FdPort port_;
  ChildProcess process_;
};

std::unique_ptr<WorkerHandle> start_local(int rank, std::vector<int> regions) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
    fail(ErrorCode::unavailable, "worker: socketpair: {}", std::strerror(errno));
  struct Closer {
    int fd;
    ~Closer() { close(fd); }
  } const childs{fds[1]};
  return std::make_unique<LocalWorker>(rank, fds[0], fds[1], std::move(regions));
}

void log_ready(const std::vector<std::string>& answers, const std::vector<WorkerReport>& workers) {
  for (size_t rank = 0; rank < answers.size(); ++rank) {
    const Json ready = parse_json(answers[rank], "worker");
    log(LogLevel::info,
        "rank {} ({}) is ready after {:.2f} s: weights {:.1f} MiB, KV cache {:.1f} MiB; matrix "
        "products: {}",
        rank,
        workers[rank].place,
        static_cast<double>(workers[rank].load_us) * 1e-6,
        ready.at("weight_bytes").get<double>() / kMib,
        ready.at("kv_bytes").get<double>() / kMib,
        ready.at("kernels").get<std::string>());
  }
}

}  // namespace

std::unique_ptr<GroupExecutor> WorkerGroup::spawn(uint64_t epoch) {
  const RankPlace& world = jobs_.front().place;
  const SharedRegions regions(world);
  std::vector<std::unique_ptr<WorkerHandle>> workers;
  for (const WorkerJob& job : jobs_)
    workers.push_back(start_local(job.place.rank, regions.fds_of(job.place)));
  return std::make_unique<GroupExecutor>(std::move(workers),
                                         GroupOptions{.epoch = epoch,
                                                      .answering_rank = world.answering_rank(),
                                                      .timeout_ms = jobs_.front().timeout_ms,
                                                      .should_stop = &should_stop_});
}

std::unique_ptr<Executor> WorkerGroup::start(uint64_t epoch) {
  std::unique_ptr<GroupExecutor> group = spawn(epoch);
  std::vector<std::string> jobs;
  for (WorkerJob job : jobs_) {
    job.epoch = epoch;
    jobs.push_back(job.to_text());
  }
  const std::vector<std::string> go_on(jobs.size(), "{}");
  group->ask(jobs, kMeetMs);
  group->ask(go_on, kMeetMs);
  log_ready(group->ask(go_on, kLoadMs), group->workers());
  return group;
}

}  // namespace quern
