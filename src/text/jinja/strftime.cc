// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/strftime.h"

#include <array>
#include <ctime>

namespace quern::jinja {
namespace {

// The C library formats single directives; the locale of a process that never calls setlocale is
// "C".
std::string directive(std::string_view spec, const std::tm& time) {
  const std::string pattern =
      std::string(spec) + "|";  // so that an empty result is told from a full buffer
  std::array<char, 256> buffer;
  const size_t size = std::strftime(buffer.data(), buffer.size(), pattern.c_str(), &time);
  return size == 0 ? std::string(spec) : std::string(buffer.data(), size - 1);
}

}  // namespace

std::string format_time(std::string_view pattern, int64_t unix_s) {
  const std::time_t seconds = unix_s;
  std::tm time{};
  if (!gmtime_r(&seconds, &time)) return std::string(pattern);
  std::string out;
  for (size_t at = 0; at < pattern.size();) {
    if (pattern[at] != '%' || at + 1 == pattern.size()) {
      out += pattern[at++];
      continue;
    }
    const size_t length =
        pattern[at + 1] == '-' || pattern[at + 1] == 'E' || pattern[at + 1] == 'O' ? 3 : 2;
    const std::string_view spec = pattern.substr(at, length);
    // Python's own: microseconds, and a time without a zone.
    if (spec == "%f")
      out += "000000";
    else if (spec != "%z" && spec != "%Z")
      out += directive(spec, time);
    at += spec.size();
  }
  return out;
}

}  // namespace quern::jinja
