// SPDX-License-Identifier: Apache-2.0
// ChildProcess: this program once more, as a child that inherits what it is given and nothing else.
#pragma once

#include <sys/types.h>

#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace quern {

class ChildProcess {
 public:
  struct Start {
    std::vector<std::string> arguments;  // of `quern`
    std::vector<int> fds;                // the child's descriptors 3, 4, …
    std::string label;                   // put in front of each line it writes to standard error
    // Without it the child gets what the loader needs, and none of the keys that may stand there.
    bool gets_environment = true;
  };

  // Throws unavailable if the system starts no process. Spawned, not forked: there are threads. The
  // child is its own process group, so that Ctrl-C reaches this process alone.
  explicit ChildProcess(const Start& start);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  // Ends it at once if it still runs; says how it ended and what it wrote last. From any thread.
  std::string end();
  // Asks it to end in good order, and waits so long; then as above.
  std::string end_gently(int timeout_ms);
  // The first of that: from any thread, also when it has ended.
  void ask_to_end();
  // What a process that has ended returned; -1: killed by a signal.
  int exit_code() const { return exit_code_; }

 private:
  void forward(int fd);
  std::string last_lines();

  const std::string label_;
  pid_t pid_ = -1;
  int exit_code_ = -1;
  std::mutex ending_, lines_mutex_;
  std::string ending_text_;  // once it was reaped
  std::deque<std::string> lines_;
  std::thread forwarder_;
};

// What waitpid says, for people: "exited with code 3", "was killed by signal 9 (Killed)".
std::string describe_status(int status);

// For a child, first thing: gets `signal` when the thread of `parent` that started it ends. False
// if that is gone already. May be called between fork and exec.
bool die_with(pid_t parent, int signal);

}  // namespace quern
