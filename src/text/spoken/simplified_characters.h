// SPDX-License-Identifier: Apache-2.0
// Traditional characters of Chinese, as their simplified form.
#pragma once

#include <string_view>

namespace quern::spoken {

// The simplified character read in place of the traditional `c`; any other character is its own.
char32_t simplified(char32_t c);

}  // namespace quern::spoken
