// SPDX-License-Identifier: Apache-2.0
// Dates and times of day in Chinese text.
#pragma once

#include <string_view>

#include "text/spoken/readings.h"

namespace quern::spoken {

// Adds the readings of a date that begins at text[at] (2023/5/1, 01.05.2023, 05/01, two of them
// with
// - or ~ between) and of a time of day (7:05, 12:30:15 PM, two with - or ~ between).
void add_chinese_dates(std::u32string_view text, size_t at, Readings& out);
void add_chinese_times(std::u32string_view text, size_t at, Readings& out);

}  // namespace quern::spoken
