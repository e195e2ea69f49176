// SPDX-License-Identifier: Apache-2.0
#include "compare/own_command.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "child_process.h"

namespace quern::compare {
namespace {

constexpr size_t kMostOutput = size_t{256} << 20;

// The child of a fork: nothing but calls that are safe there.
[[noreturn]] void become(std::vector<char*>& arguments, int output, pid_t parent) {
  if (!die_with(parent, SIGTERM)) _exit(127);
  dup2(output, STDOUT_FILENO);
  execv("/proc/self/exe", arguments.data());
  _exit(127);
}

// All that comes until the other end is closed; nothing where that is too much.
bool read_all(int end, std::string& out) {
  char buffer[1 << 16];
  for (;;) {
    const ssize_t count = read(end, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return true;
    if (out.size() + static_cast<size_t>(count) > kMostOutput) return false;
    out.append(buffer, static_cast<size_t>(count));
  }
}

int wait_for(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string quoted(const std::string& word) {
  constexpr const char* kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=,+@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace

OwnResult run_own(const std::vector<std::string>& arguments) {
  std::vector<std::string> whole = {"quern"};
  whole.insert(whole.end(), arguments.begin(), arguments.end());
  std::vector<char*> raw;
  for (std::string& argument : whole) raw.push_back(argument.data());
  raw.push_back(nullptr);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) fail(ErrorCode::unavailable, "no pipe for {}", typed(arguments));
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) become(raw, ends[1], parent);
  close(ends[1]);
  OwnResult out;
  const bool is_whole = pid < 0 || read_all(ends[0], out.output);
  close(ends[0]);
  if (pid < 0) fail(ErrorCode::unavailable, "no process for {}", typed(arguments));
  if (!is_whole) kill(pid, SIGTERM);
  out.exit_code = wait_for(pid);
  if (!is_whole)
    fail(ErrorCode::exhausted, "{}: it said more than {} bytes", typed(arguments), kMostOutput);
  return out;
}

Json json_of(const std::vector<std::string>& arguments, int other_code) {
  const OwnResult done = run_own(arguments);
  if (done.exit_code != 0 && done.exit_code != other_code)
    fail(ErrorCode::internal,
         "{}: ended with exit code {}: its message stands above",
         typed(arguments),
         done.exit_code);
  return parse_json(done.output, typed(arguments), {.max_bytes = kMostOutput});
}

std::string typed(const std::vector<std::string>& arguments) {
  std::string out = "quern";
  for (const std::string& argument : arguments) out += " " + quoted(argument);
  return out;
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "quern-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) fail(ErrorCode::unavailable, "{}: cannot be made", name);
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace quern::compare
