// SPDX-License-Identifier: Apache-2.0
// The tests behind "is", by name.
#pragma once

#include <string_view>

#include "text/jinja/ast.h"

namespace quern::jinja {

// Null where there is none.
Test find_test(std::string_view name);

}  // namespace quern::jinja
