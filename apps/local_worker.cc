// SPDX-License-Identifier: Apache-2.0
#include "local_worker.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "child_process.h"
#include "fd_port.h"

namespace quern {
namespace {

// A worker of this machine.
class LocalWorker final : public WorkerHandle {
 public:
  LocalWorker(int own_fd, const ChildProcess::Start& start) : port_(own_fd), process_(start) {}

  void send(std::string_view message) override { port_.send(message); }
  bool receive(std::string& message, int timeout_ms) override {
    return port_.receive(message, timeout_ms);
  }
  std::string place() const override { return format("this host, pid {}", process_.pid()); }
  std::string end() override { return process_.end(); }

 private:
  FdPort port_;
  ChildProcess process_;
};

}  // namespace

std::unique_ptr<WorkerHandle> start_local_worker(int rank,
                                                 std::vector<int> regions,
                                                 MustDial must_dial) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
    fail(ErrorCode::unavailable, "worker: socketpair: {}", std::strerror(errno));
  struct Closer {
    int fd;
    ~Closer() { close(fd); }
  } const childs{fds[1]};
  ChildProcess::Start start{.arguments = {"worker", "--parent", std::to_string(getpid())},
                            .fds = std::move(regions),
                            .label = format("[rank {}] ", rank)};
  start.fds.insert(start.fds.begin(), childs.fd);
  if (must_dial == MustDial::yes) start.arguments.emplace_back("--dial");
  return std::make_unique<LocalWorker>(fds[0], start);
}

}  // namespace quern
