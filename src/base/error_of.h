// SPDX-License-Identifier: Apache-2.0
// For tests: what an action throws, as "code: message".
#pragma once

#include <string>

#include "base/error.h"
#include "base/function_ref.h"

namespace quern {

inline std::string error_of(FunctionRef<void()> action) {
  try {
    action();
  } catch (const Error& e) {
    return format("{}: {}", name_of(e.code()), e.what());
  }
  return "nothing was thrown";
}

}  // namespace quern
