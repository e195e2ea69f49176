// SPDX-License-Identifier: Apache-2.0
// Numbers with units in Chinese text.
#pragma once

#include <string_view>

#include "text/spoken/readings.h"

namespace quern::spoken {

// Adds the readings of a measure that begins at text[at]: 5kg, 2个, 1-11个, 10km/h, 90年.
void add_chinese_measures(std::u32string_view text, size_t at, Readings& out);

}  // namespace quern::spoken
