// SPDX-License-Identifier: Apache-2.0
// Adb: one phone behind Android's `adb` client. Commands for the phone's shell are lists of words,
// quoted here and nowhere else.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "agent/process.h"
#include "base/error.h"

namespace quern::agent {

// Runs `adb` with these arguments; has_timed_out if it takes longer.
using AdbRunner =
    std::function<CommandResult(const std::vector<std::string>& arguments, int64_t timeout_ms)>;
using Pause = std::function<void(int64_t ms)>;

// The phone did not answer, or not to the end: what was asked of it may or may not have happened.
class DeviceLost : public Error {
 public:
  explicit DeviceLost(std::string message) : Error(ErrorCode::unavailable, std::move(message)) {}
};

struct AdbOptions {
  std::string serial{};           // empty: the only one that is connected
  int64_t timeout_ms = 20'000;    // of one command
  int64_t reconnect_ms = 30'000;  // until a lost phone is given up
};

class Adb {
 public:
  // Connects first where the serial is HOST:PORT. Throws not_found without adb, unavailable without
  // the phone, invalid_argument where several are connected and none is named.
  Adb(AdbRunner run, Pause pause, AdbOptions options);

  struct ShellAnswer {
    int exit_code = 0;
    std::string out;  // with what it wrote to standard error
  };
  // Throws DeviceLost.
  ShellAnswer shell(const std::vector<std::string>& words);
  // The same for what changes nothing on the phone: after a lost link it is asked once more.
  ShellAnswer ask(const std::vector<std::string>& words);
  // The bytes that a command writes, as they are. Throws DeviceLost.
  std::string bytes(const std::vector<std::string>& words);
  // The same, asked once more likewise.
  std::string ask_bytes(const std::vector<std::string>& words);

  // Waits for a lost phone to come back. Throws DeviceLost when the time is up.
  void reconnect();
  const std::string& serial() const { return options_.serial; }

 private:
  std::string only_serial();
  bool is_remote() const { return options_.serial.find(':') != std::string::npos; }
  std::string absence();  // empty: the phone is there
  CommandResult device_command(std::vector<std::string> words);
  template <typename Call>
  auto twice_if_lost(Call call);

  AdbRunner run_;
  Pause pause_;
  AdbOptions options_;
};

// What adb wrote, on one line, for a message.
std::string told_by(const CommandResult& result);

}  // namespace quern::agent
