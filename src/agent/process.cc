// SPDX-License-Identifier: Apache-2.0
#include "agent/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/clock.h"
#include "base/error.h"

extern char** environ;

namespace quern::agent {
namespace {

constexpr int kSliceMs = 20;  // how late an end, a stop or a deadline may be seen

class Pipe {
 public:
  Pipe() {
    if (pipe2(fds_.data(), O_CLOEXEC) != 0)
      fail(ErrorCode::unavailable, "no pipe: {}", std::strerror(errno));
    fcntl(fds_[0], F_SETFL, O_NONBLOCK);
  }
  ~Pipe() {
    close_write();
    close(fds_[0]);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  int read_end() const { return fds_[0]; }
  int write_end() const { return fds_[1]; }
  void close_write() {
    if (fds_[1] >= 0) close(fds_[1]);
    fds_[1] = -1;
  }
  // Appends what is there; false at the end.
  bool drain(std::string& out) {
    std::array<char, 65536> buffer;
    for (;;) {
      const ssize_t n = read(fds_[0], buffer.data(), buffer.size());
      if (n > 0)
        out.append(buffer.data(), static_cast<size_t>(n));
      else if (n == 0 || errno != EINTR)
        return n != 0;
    }
  }

 private:
  std::array<int, 2> fds_{-1, -1};
};

// A child of its own process group: Ctrl-C reaches this program, which then decides.
pid_t spawn(const std::vector<std::string>& words, const Pipe& out, const Pipe& err) {
  std::vector<std::string> copy = words;
  std::vector<char*> argv;
  argv.reserve(copy.size() + 1);
  for (std::string& word : copy) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out.write_end(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.write_end(), STDERR_FILENO);
  sigset_t all;
  sigfillset(&all);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  pid_t pid = -1;
  const int error = posix_spawnp(&pid, argv[0], &actions, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0)
    fail(error == ENOENT || error == EACCES ? ErrorCode::not_found : ErrorCode::unavailable,
         "{}: cannot be started: {}",
         words.front(),
         std::strerror(error));
  return pid;
}

// Kills what still runs when it goes away.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) {}
  ~Child() {
    if (pid_ < 0) return;
    kill(pid_, SIGKILL);
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // The exit code once it has ended (-1: by a signal).
  bool has_ended(int& exit_code) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) != pid_) return false;
    pid_ = -1;
    exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return true;
  }

 private:
  pid_t pid_;
};

void wait_for_output(const Pipe& out, const Pipe& err, bool is_open) {
  std::array<pollfd, 2> fds{pollfd{is_open ? out.read_end() : -1, POLLIN, 0},
                            pollfd{is_open ? err.read_end() : -1, POLLIN, 0}};
  poll(fds.data(), fds.size(), is_open ? kSliceMs : 1);
}

}  // namespace

CommandResult run_command(const std::vector<std::string>& words, const CommandLimits& limits) {
  Pipe out, err;
  const MonotonicClock clock;
  const int64_t end_us = clock.now_us() + limits.timeout_ms * 1000;
  Child child(spawn(words, out, err));
  out.close_write();
  err.close_write();
  CommandResult result;
  for (bool is_open = true;;) {
    wait_for_output(out, err, is_open);
    // Asked before the last look into the pipes: what it wrote before it ended is there then.
    const bool has_ended = child.has_ended(result.exit_code);
    const bool is_out_open = out.drain(result.out), is_err_open = err.drain(result.err);
    is_open = is_out_open && is_err_open;
    if (result.out.size() + result.err.size() > limits.max_bytes)
      fail(ErrorCode::exhausted, "{}: more than {} bytes of output", words[0], limits.max_bytes);
    if (has_ended) return result;
    if (limits.stop != nullptr && limits.stop->load()) fail(ErrorCode::cancelled, "interrupted");
    if (clock.now_us() >= end_us) {
      result.has_timed_out = true;
      return result;
    }
  }
}

}  // namespace quern::agent
