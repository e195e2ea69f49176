// SPDX-License-Identifier: Apache-2.0
// Literals and numerals as Python writes them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace quern::jinja {

// The text between the quotes with its escapes resolved; a wrong escape is reported for `line`.
std::string unescape_literal(std::string_view body, int line);

// Digits of a base (2 to 36), nothing else; false where they do not fit.
bool parse_integer(std::string_view digits, int base, Int& value);

// int(text, base) and float(text): blanks around, a sign, underscores between digits; base 0 reads
// a prefix.
std::optional<Int> parse_python_int(std::string_view text, int base);
std::optional<double> parse_python_float(std::string_view text);

}  // namespace quern::jinja
