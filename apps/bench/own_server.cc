// SPDX-License-Identifier: Apache-2.0
#include "bench/own_server.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "child_process.h"

namespace quern::bench {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

// The child of a fork: nothing but calls that are safe there.
[[noreturn]] void become(std::vector<char*>& arguments, int output, pid_t parent) {
  if (!die_with(parent, SIGTERM)) _exit(127);
  dup2(output, STDOUT_FILENO);
  execv("/proc/self/exe", arguments.data());
  _exit(127);
}

}  // namespace

OwnServer::OwnServer(const std::vector<std::string>& arguments) {
  std::vector<std::string> whole = {"quern", "serve", "--port", "0"};
  whole.insert(whole.end(), arguments.begin(), arguments.end());
  std::vector<char*> raw;
  for (std::string& argument : whole) raw.push_back(argument.data());
  raw.push_back(nullptr);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) fail(ErrorCode::exhausted, "no pipe for a server");
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) become(raw, ends[1], parent);
  close(ends[1]);
  if (pid_ < 0) {
    close(ends[0]);
    fail(ErrorCode::exhausted, "no process for a server");
  }
  read_address(ends[0]);
}

void OwnServer::read_address(int standard_output) {
  const std::unique_ptr<std::FILE, CloseFile> out(fdopen(standard_output, "r"));
  char line[4096];
  if (!out || std::fgets(line, sizeof line, out.get()) == nullptr)
    fail(ErrorCode::unavailable,
         "the server did not start: quern serve ended with exit code {}",
         wait_for_end());
  const Json ready = parse_json(line, "what quern serve says when it is ready");
  base_url_ = format("http://127.0.0.1:{}", ready.value("port", 0));
}

int OwnServer::wait_for_end() {
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

OwnServer::~OwnServer() {
  if (pid_ < 0) return;
  kill(pid_, SIGTERM);
  wait_for_end();
}

}  // namespace quern::bench
