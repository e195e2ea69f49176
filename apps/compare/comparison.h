// SPDX-License-Identifier: Apache-2.0
// Two checkpoints or servers, measured alike on this machine: what each is and does, and how far
// the first lies from the second.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "eval/task_file.h"

namespace quern::compare {

struct CompareRequest {
  std::string a, b;                          // checkpoints, or addresses of servers
  std::string a_label = "A", b_label = "B";  // how tables call them
  std::string text;                          // a file or eval's built-in text; empty: none
  std::vector<std::string> tasks;            // files
  std::string device;                        // what `plan` is asked of; empty: nothing
  std::vector<std::string> flags;            // of every command that measures
  bool has_speed = true;
  int64_t max_tokens = 20'000;  // of the text
  std::string api_key;          // of servers
};

// A server is http(s)://host:port, with "#NAME" behind it where it serves several models.
bool is_server(const std::string& name);

// Everything that can be judged without measuring: that files are there, that the device is known,
// that servers are asked what they can answer. Returns the tasks. Throws naming flag, file or line.
std::vector<eval::Task> check(const CompareRequest& request);

// {"a": {…}, "b": {…}, "between": {…}, "tasks": […], "commands": […]}; what was not measured is not
// there. Throws what a command fails with.
Json compare(const CompareRequest& request);

}  // namespace quern::compare
