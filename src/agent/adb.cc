// SPDX-License-Identifier: Apache-2.0
#include "agent/adb.h"

#include <algorithm>
#include <charconv>
#include <sstream>

#include "agent/quoting.h"

namespace quern::agent {
namespace {

// Behind each command: old phones pass no exit code on, and one whose link breaks says nothing.
constexpr std::string_view kEndMark = "quern-exit:";

constexpr int64_t kStartMs = 10'000;  // adb's own server, on a busy machine

std::vector<std::string> serials_in(const std::string& listing) {
  std::vector<std::string> out;
  std::istringstream lines(listing);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string serial, state;
    if (fields >> serial >> state && state == "device") out.push_back(serial);
  }
  return out;
}

// Takes the mark off; false if it is not there: the command did not come to its end.
bool take_end_mark(Adb::ShellAnswer& answer) {
  const size_t at = answer.out.rfind(kEndMark);
  if (at == std::string::npos) return false;
  const char* begin = answer.out.data() + at + kEndMark.size();
  const char* end = answer.out.data() + answer.out.size();
  if (std::from_chars(begin, end, answer.exit_code).ec != std::errc()) return false;
  answer.out.resize(at);
  return true;
}

}  // namespace

std::string told_by(const CommandResult& result) {
  constexpr size_t kMost = 300;
  if (result.has_timed_out) return "no answer in time";
  std::string out = (result.err.empty() ? result.out : result.err).substr(0, kMost);
  while (!out.empty() && (out.back() == '\n' || out.back() == '\r')) out.pop_back();
  for (char& c : out)
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  return out.empty() ? "the link ended" : out;
}

Adb::Adb(AdbRunner run, Pause pause, AdbOptions options)
    : run_(std::move(run)), pause_(std::move(pause)), options_(std::move(options)) {
  const CommandResult start = run_({"start-server"}, std::max(options_.timeout_ms, kStartMs));
  if (start.exit_code != 0) fail(ErrorCode::unavailable, "adb start-server: {}", told_by(start));
  if (options_.serial.empty()) options_.serial = only_serial();
  if (!absence().empty()) reconnect();
}

std::string Adb::only_serial() {
  const CommandResult listing = run_({"devices"}, options_.timeout_ms);
  const std::vector<std::string> serials = serials_in(listing.out);
  if (serials.empty())
    fail(ErrorCode::unavailable,
         "no phone is connected, or none allows USB debugging (adb devices lists none); name one "
         "on the network with --device HOST:PORT");
  if (serials.size() == 1) return serials.front();
  std::string names;
  for (const std::string& serial : serials) names += (names.empty() ? "" : ", ") + serial;
  fail(ErrorCode::invalid_argument, "several phones are connected: choose one of {}", names);
}

std::string Adb::absence() {
  const CommandResult state = run_({"-s", options_.serial, "get-state"}, options_.timeout_ms);
  return state.exit_code == 0 && state.out.starts_with("device") ? "" : told_by(state);
}

void Adb::reconnect() {
  constexpr int64_t kPauseMs = 500;
  // Counted in pauses: what each try takes comes on top, and each has its own deadline.
  for (int64_t waited_ms = 0;; waited_ms += kPauseMs) {
    std::string said;
    if (is_remote()) {
      run_({"disconnect", options_.serial}, options_.timeout_ms);
      said = told_by(run_({"connect", options_.serial}, options_.timeout_ms)) + "; ";
    }
    const std::string missing = absence();
    if (missing.empty()) return;
    if (waited_ms >= options_.reconnect_ms)
      throw DeviceLost(format("{}: the phone is gone and did not come back within {} s ({}{})",
                              options_.serial,
                              options_.reconnect_ms / 1000,
                              said,
                              missing));
    pause_(kPauseMs);
  }
}

CommandResult Adb::device_command(std::vector<std::string> words) {
  words.insert(words.begin(), {"-s", options_.serial});
  return run_(words, options_.timeout_ms);
}

Adb::ShellAnswer Adb::shell(const std::vector<std::string>& words) {
  const std::string line = shell_command(words) + "; echo " + std::string(kEndMark) + "$?";
  const CommandResult result = device_command({"shell", line});
  ShellAnswer answer{.exit_code = 0, .out = result.out + result.err};
  if (result.has_timed_out || !take_end_mark(answer))
    throw DeviceLost(format("{}: {}: {}", options_.serial, words.front(), told_by(result)));
  return answer;
}

template <typename Call>
auto Adb::twice_if_lost(Call call) {
  try {
    return call();
  } catch (const DeviceLost&) {
    reconnect();
    return call();
  }
}

Adb::ShellAnswer Adb::ask(const std::vector<std::string>& words) {
  return twice_if_lost([&] { return shell(words); });
}

std::string Adb::bytes(const std::vector<std::string>& words) {
  CommandResult result = device_command({"exec-out", shell_command(words)});
  if (result.has_timed_out || result.exit_code != 0)
    throw DeviceLost(format("{}: {}: {}", options_.serial, words.front(), told_by(result)));
  return std::move(result.out);
}

std::string Adb::ask_bytes(const std::vector<std::string>& words) {
  return twice_if_lost([&] { return bytes(words); });
}

}  // namespace quern::agent
