// SPDX-License-Identifier: Apache-2.0
// Errors of the outside world (file, config, request, memory) are thrown as Error; our own bugs end
// in QUERN_CHECK.
#pragma once

#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "base/format.h"

namespace quern {

enum class ErrorCode {
  invalid_argument,  // the caller's input is wrong; HTTP 400
  not_found,         // no such file, model, route; HTTP 404
  unsupported,       // understood, but this build or model cannot; HTTP 400
  data_loss,         // a file is damaged or contradicts itself
  exhausted,         // does not fit: memory, blocks, queue; HTTP 429 or 503
  unavailable,       // temporary: try again; HTTP 503
  cancelled,         // the requester went away
  internal,          // should not happen, but could be contained; HTTP 500
};

// "invalid_argument", …: the name as it stands in logs and API bodies.
std::string_view name_of(ErrorCode code);

// An error with a code, a message and a chain of contexts. what() reads
// "while loading layer 3: layers.3.mlp.down_proj.scales: expected [231, 8192], got [232, 8192]".
// A message says where, what was expected, what came, what to do.
class Error : public std::exception {
 public:
  Error(ErrorCode code, std::string message);

  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }  // without contexts
  const char* what() const noexcept override { return what_.c_str(); }
  // Puts `context` in front; returned so that a handler can `throw e.with_context("…")`.
  Error& with_context(std::string_view context);

 private:
  ErrorCode code_;
  std::string message_;
  std::string what_;
};

// Throws Error{code, format(fmt, args...)}.
template <typename... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> fmt, Args&&... args) {
  throw Error(code, fmt::format(fmt, std::forward<Args>(args)...));
}

// Runs `body`; an Error that leaves it carries `context` in front of its message.
template <typename Body>
decltype(auto) with_context(std::string_view context, Body&& body) {
  try {
    return body();
  } catch (Error& e) {
    e.with_context(context);
    throw;
  }
}

namespace detail {
[[noreturn]] void check_failed(const char* condition,
                               const char* file,
                               int line,
                               const std::string& message);
}

}  // namespace quern

// A contract of our own code: prints the condition, a message and a stack trace, then aborts. Never
// for outside input.
#define QUERN_CHECK(condition, ...)                                       \
  do {                                                                    \
    if (!(condition)) [[unlikely]]                                        \
      ::quern::detail::check_failed(                                      \
          #condition, __FILE__, __LINE__, ::fmt::format("" __VA_ARGS__)); \
  } while (false)

#ifdef NDEBUG
#define QUERN_DCHECK(condition, ...) \
  do {                               \
  } while (false)
#else
#define QUERN_DCHECK(condition, ...) QUERN_CHECK(condition, __VA_ARGS__)
#endif
