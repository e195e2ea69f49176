// SPDX-License-Identifier: Apache-2.0
// Cutting text: what methods and filters share.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace quern::jinja {

enum class Side { left, right, both };

// Without the characters of `chars` at its ends; null: without white space.
std::string strip(std::string_view text, Side side, const std::string* chars);

// str.splitlines(): at \n, \r\n, \r and Python's other line ends.
std::vector<std::string_view> split_lines(std::string_view text, bool keeps_ends = false);

// Every occurrence of `old`, or the first `count` where that is not negative. An empty `old` stands
// between all characters.
std::string replace(std::string_view text, std::string_view old, std::string_view with, Int count);

// str.center: the odd blank goes left where the width is odd.
std::string center(std::string_view text, Int width, std::string_view fill);

}  // namespace quern::jinja
