// SPDX-License-Identifier: Apache-2.0
// Words and signs that English text abbreviates.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/spoken/readings.h"
#include "text/spoken/word_table.h"

namespace quern::spoken {

// A unit or currency at a place of a text: one gram, two grams.
struct CountedWord {
  size_t end = 0;
  std::string one, many;
};

// The units at text[at]; behind a capital, letters count in either case (Kg, MHz).
std::vector<CountedWord> english_units(std::u32string_view text, size_t at);
std::vector<CountedWord> english_currencies(std::u32string_view text, size_t at);

// Adds the readings of an abbreviation or sign at text[at]: Mr., A.B., GPUs, &, "Austin, TX".
void add_english_abbreviations(std::u32string_view text, size_t at, Readings& out);

}  // namespace quern::spoken
