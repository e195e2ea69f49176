// SPDX-License-Identifier: Apache-2.0
// Signs and digits that the normalisers leave, as words.
#pragma once

#include <string>
#include <string_view>

namespace quern::spoken {

// Mathematical signs, Greek letters, circled digits, ² ³ / ~ as Chinese words.
std::u32string say_symbols_in_chinese(std::u32string_view text);

// Every run of digits (of any script) as an English number. A run of signs that are digits by name
// alone, like ² or ①, is "zero", as in the reference; more digits than it can read (36) are left
// out.
std::u32string spell_left_digits(std::u32string_view text);

}  // namespace quern::spoken
