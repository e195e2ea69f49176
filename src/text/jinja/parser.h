// SPDX-License-Identifier: Apache-2.0
// Tokens to a Program, with jinja2's grammar.
#pragma once

#include <string_view>

#include "text/jinja/ast.h"

namespace quern::jinja {

// Throws invalid_argument with line and what was expected; unsupported for import, include,
// extends, block, autoescape and filters outside the subset; exhausted never: what nests deeper
// than `max_depth` is invalid_argument too.
Program parse_template(std::string_view source, int max_depth);

}  // namespace quern::jinja
