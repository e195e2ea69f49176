// SPDX-License-Identifier: Apache-2.0
#include "child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/error.h"

extern char** environ;

namespace quern {
namespace {

constexpr int kFirstFd = 3;
constexpr int kLookMs = 20;
constexpr int kAside = 64;  // descriptors wait here for their places, which may be taken by others
constexpr size_t kKeptLines = 4, kMaxLine = 2'000;

void check(int error, const char* what) {
  if (error != 0) fail(ErrorCode::unavailable, "worker: {}: {}", what, std::strerror(error));
}

class FileActions {
 public:
  FileActions() { posix_spawn_file_actions_init(&actions_); }
  ~FileActions() {
    posix_spawn_file_actions_destroy(&actions_);
    for (const int fd : aside_) close(fd);
  }
  void open_null(int target) {
    check(posix_spawn_file_actions_addopen(&actions_, target, "/dev/null", O_RDONLY, 0), "open");
  }
  void put(int fd, int target) {
    const int aside = fcntl(fd, F_DUPFD_CLOEXEC, kAside);
    if (aside < 0) check(errno, "dup");
    aside_.push_back(aside);
    check(posix_spawn_file_actions_adddup2(&actions_, aside, target), "dup");
  }
  void close_from(int first) {
    check(posix_spawn_file_actions_addclosefrom_np(&actions_, first), "close");
  }
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
  std::vector<int> aside_;
};

class Attributes {
 public:
  Attributes() {
    posix_spawnattr_init(&attributes_);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    posix_spawnattr_setpgroup(&attributes_, 0);
    posix_spawnattr_setflags(
        &attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  ~Attributes() { posix_spawnattr_destroy(&attributes_); }
  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

// What loading the program needs, and what its sanitizers are told.
std::vector<char*> sparse_environment() {
  std::vector<char*> out;
  for (char** each = environ; *each != nullptr; ++each)
    for (const std::string_view name :
         {"LD_LIBRARY_PATH=", "ASAN_OPTIONS=", "TSAN_OPTIONS=", "UBSAN_OPTIONS="})
      if (std::string_view(*each).starts_with(name)) out.push_back(*each);
  out.push_back(nullptr);
  return out;
}

}  // namespace

std::string describe_status(int status) {
  if (WIFEXITED(status)) return format("exited with code {}", WEXITSTATUS(status));
  if (WIFSIGNALED(status))
    return format("was killed by signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)));
  return "ended";
}

bool die_with(pid_t parent, int signal) {
  return prctl(PR_SET_PDEATHSIG, signal) == 0 && getppid() == parent;
}

ChildProcess::ChildProcess(const Start& start) : label_(start.label) {
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) check(errno, "pipe");
  std::vector<char*> argv;
  std::vector<std::string> arguments = start.arguments;
  arguments.insert(arguments.begin(), "quern");
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  int error = 0;
  {
    FileActions actions;
    const Attributes attributes;
    actions.open_null(STDIN_FILENO);
    actions.put(pipe_fds[1], STDOUT_FILENO);
    actions.put(pipe_fds[1], STDERR_FILENO);
    int target = kFirstFd;
    for (const int fd : start.fds) actions.put(fd, target++);
    actions.close_from(target);
    std::vector<char*> sparse = sparse_environment();
    // The file that runs here, even if another build has taken its name since.
    error = posix_spawn(&pid_,
                        "/proc/self/exe",
                        actions.get(),
                        attributes.get(),
                        argv.data(),
                        start.gets_environment ? environ : sparse.data());
  }
  close(pipe_fds[1]);
  if (error != 0) {
    close(pipe_fds[0]);
    check(error, "spawn");
  }
  forwarder_ = std::thread([this, fd = pipe_fds[0]] { forward(fd); });
}

ChildProcess::~ChildProcess() {
  end();
}

void ChildProcess::forward(int fd) {
  std::string line;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) != 0;) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    for (const char c : std::string_view(buffer, static_cast<size_t>(n))) {
      if (c != '\n') {
        if (line.size() < kMaxLine) line += c;
        continue;
      }
      std::fprintf(stderr, "%s%s\n", label_.c_str(), line.c_str());
      const std::lock_guard lock(lines_mutex_);
      lines_.push_back(std::exchange(line, {}));
      if (lines_.size() > kKeptLines) lines_.pop_front();
    }
  }
  close(fd);
}

std::string ChildProcess::end() {
  return end_gently(0);
}

void ChildProcess::ask_to_end() {
  const std::unique_lock lock(ending_, std::try_to_lock);  // not free: it is being ended
  if (lock && ending_text_.empty()) kill(pid_, SIGTERM);
}

std::string ChildProcess::end_gently(int timeout_ms) {
  const std::lock_guard lock(ending_);
  if (!ending_text_.empty()) return ending_text_;
  int status = 0;
  bool has_ended = false;
  if (timeout_ms > 0) kill(pid_, SIGTERM);
  for (int waited_ms = 0; waited_ms < timeout_ms && !has_ended; waited_ms += kLookMs) {
    has_ended = waitpid(pid_, &status, WNOHANG) == pid_;
    if (!has_ended) std::this_thread::sleep_for(std::chrono::milliseconds(kLookMs));
  }
  if (!has_ended) {
    kill(pid_, SIGKILL);  // changes nothing for one that has ended by itself
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
  }
  if (WIFEXITED(status)) exit_code_ = WEXITSTATUS(status);
  forwarder_.join();
  ending_text_ = describe_status(status) + last_lines();
  return ending_text_;
}

std::string ChildProcess::last_lines() {
  const std::lock_guard lock(lines_mutex_);
  std::string out;
  for (const std::string& line : lines_) out += (out.empty() ? "; it said last: " : " | ") + line;
  return out;
}

}  // namespace quern
