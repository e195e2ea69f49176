// SPDX-License-Identifier: Apache-2.0
// How far two words are apart: for "did you mean …?".
#pragma once

#include <string_view>

namespace quern {

// The number of edits (insert, erase, replace, swap of neighbours) between two short words.
int edit_distance(std::string_view a, std::string_view b);

}  // namespace quern
