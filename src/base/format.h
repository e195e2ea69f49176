// SPDX-License-Identifier: Apache-2.0
// quern::format: std::format's syntax. g++ 12 has no <format>, so this is fmt under our name.
#pragma once

#include <fmt/format.h>

namespace quern {
using fmt::format;
}  // namespace quern
