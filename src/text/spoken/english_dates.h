// SPDX-License-Identifier: Apache-2.0
// Dates, years and times of day in English text.
#pragma once

#include <string_view>

#include "text/spoken/readings.h"

namespace quern::spoken {

// Where a year stands decides how the reference reads its zeros: 1905 is "nineteen oh five" but
// behind a month "nineteen zero five"; 2000 is "two thousand" but at the end of a range "twenty
// hundred".
enum class YearPlace { alone, in_date, ends_range };

// The years that begin at text[at], at no cost: 1999, 1990s, '90s, 123 A.D.
Readings english_years(std::u32string_view text, size_t at, YearPlace place);

// The times of day that begin at text[at], at no cost: 2:30 pm, 2 pm, 12:00:05.
Readings english_times(std::u32string_view text, size_t at);

// Adds the readings of a date that begins at text[at]: March 5, 2011; 3/5/2011; 2011-03-05; 5
// March; 1999; 1Q20.
void add_english_dates(std::u32string_view text, size_t at, Readings& out);

}  // namespace quern::spoken
