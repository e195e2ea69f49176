// SPDX-License-Identifier: Apache-2.0
// Numbers with units, currencies and operators in English text.
#pragma once

#include <string_view>

#include "text/spoken/readings.h"

namespace quern::spoken {

// Adds the readings of a measure that begins at text[at]: 5 kg, 5-10 kg, 60 km/h, 3.5-inch,
// GPT-4.5, 5 + 3 = 8, /kg.
void add_english_measures(std::u32string_view text, size_t at, Readings& out);

// Adds the readings of an amount of money that begins at text[at]: $5, $5.50, €5 million, $5M.
void add_english_money(std::u32string_view text, size_t at, Readings& out);

// Adds the readings of two or more numbers, times or days joined: 2-3, 1999-2000, Mon-Fri, 2+3,
// 2x3, No. 5, 10%-20%.
void add_english_ranges(std::u32string_view text, size_t at, Readings& out);

}  // namespace quern::spoken
