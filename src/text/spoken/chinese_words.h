// SPDX-License-Identifier: Apache-2.0
// Words that Chinese text puts beside numbers.
#pragma once

#include "text/spoken/word_table.h"

namespace quern::spoken {

const WordTable& chinese_units();        // kg, 个, 平方米
const WordTable& chinese_currencies();   // $, CNY
const WordTable& chinese_countries();    // before a score
const WordTable& chinese_fixed_words();  // B2B, 90后

}  // namespace quern::spoken
