// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

#include <execinfo.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace quern {

std::string_view name_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return "invalid_argument";
    case ErrorCode::not_found:
      return "not_found";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::data_loss:
      return "data_loss";
    case ErrorCode::exhausted:
      return "exhausted";
    case ErrorCode::unavailable:
      return "unavailable";
    case ErrorCode::cancelled:
      return "cancelled";
    case ErrorCode::internal:
      return "internal";
  }
  return "internal";
}

Error::Error(ErrorCode code, std::string message)
    : code_(code), message_(std::move(message)), what_(message_) {}

Error& Error::with_context(std::string_view context) {
  what_ = format("{}: {}", context, what_);
  return *this;
}

namespace detail {

void check_failed(const char* condition, const char* file, int line, const std::string& message) {
  std::fprintf(stderr,
               "quern: internal error at %s:%d: %s%s%s\nThis is a bug in quern, not in your model "
               "or request.\n",
               file,
               line,
               condition,
               message.empty() ? "" : ": ",
               message.c_str());
  void* frames[64];
  const int count = backtrace(frames, 64);
  backtrace_symbols_fd(frames, count, STDERR_FILENO);
  std::abort();
}

}  // namespace detail
}  // namespace quern
