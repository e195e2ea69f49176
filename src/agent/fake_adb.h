// SPDX-License-Identifier: Apache-2.0
// For tests: an adb that does nothing but remember.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "agent/adb.h"
#include "base/file.h"

namespace quern::agent {

struct FakeAdb {
  std::vector<std::string> lines;  // what the phone's shell was given, without the end mark
  std::function<std::string(const std::string& line)> reply = [](const std::string&) { return ""; };
  std::string exit_code = "0";
  std::string state = "device";
  std::deque<bool> lost;  // whether the next commands break; then none does
  int64_t paused_ms = 0;
  std::vector<std::string> others;  // connect, disconnect, …
  std::string listing = "List of devices attached\nserial1\tdevice\n\n";

  AdbRunner runner() {
    return [this](const std::vector<std::string>& words, int64_t) { return answer(words); };
  }
  Pause pause() {
    return [this](int64_t ms) { paused_ms += ms; };
  }

 private:
  CommandResult answer(const std::vector<std::string>& words) {
    CommandResult result;
    result.exit_code = 0;
    if (words.size() < 4 || words[0] != "-s") return other(words, result);
    const bool is_lost = !lost.empty() && lost.front();
    if (!lost.empty()) lost.pop_front();
    const std::string line = words[3].substr(0, words[3].find("; echo quern-exit:"));
    lines.push_back(line);
    if (is_lost) {
      result.exit_code = 1;
      result.err = "error: closed\n";
      return result;
    }
    result.out = reply(line);
    if (words[2] == "shell") result.out += "quern-exit:" + exit_code + "\n";
    return result;
  }
  CommandResult& other(const std::vector<std::string>& words, CommandResult& result) {
    others.push_back(words[0] == "-s" ? words[2] : words[0]);
    if (words[0] == "devices") result.out = listing;
    if (others.back() == "get-state") result.out = state + "\n";
    if (others.back() == "get-state" && state != "device") result.exit_code = 1;
    return result;
  }
};

// A real picture of the goldens, with something on it.
inline std::string a_picture() {
  return read_file(std::string(QUERN_SOURCE_DIR) + "/tests/golden/glm4v/inputs/image_a.png");
}

}  // namespace quern::agent
