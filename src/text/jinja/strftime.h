// SPDX-License-Identifier: Apache-2.0
// strftime in the C locale, of UTC.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace quern::jinja {

std::string format_time(std::string_view pattern, int64_t unix_s);

}  // namespace quern::jinja
