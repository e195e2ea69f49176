// SPDX-License-Identifier: Apache-2.0
// GrammarError: a constraint that cannot be compiled, and where in its text the cause stands.
#pragma once

#include <string>
#include <utility>

#include "base/error.h"

namespace quern {

class GrammarError : public Error {
 public:
  // `pointer` is a JSON pointer into the text ("/properties/a/not"), or empty.
  GrammarError(ErrorCode code, std::string pointer, const std::string& message)
      : Error(code, pointer.empty() ? message : pointer + ": " + message),
        pointer_(std::move(pointer)) {}

  const std::string& pointer() const { return pointer_; }

 private:
  std::string pointer_;
};

template <typename... Args>
[[noreturn]] void fail_grammar(std::string pointer,
                               fmt::format_string<Args...> fmt,
                               Args&&... args) {
  throw GrammarError(ErrorCode::invalid_argument,
                     std::move(pointer),
                     fmt::format(fmt, std::forward<Args>(args)...));
}

// Runs `body`; a GrammarError without a pointer that leaves it gets this one.
template <typename Body>
void at_pointer(const std::string& pointer, Body&& body) {
  try {
    body();
  } catch (const GrammarError& error) {
    if (!error.pointer().empty()) throw;
    throw GrammarError(error.code(), pointer, error.what());
  }
}

}  // namespace quern
