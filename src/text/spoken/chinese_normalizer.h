// SPDX-License-Identifier: Apache-2.0
// Chinese text with its numbers, dates, times, money and units spelled out.
#pragma once

#include <string>
#include <string_view>

namespace quern::spoken {

// What WeTextProcessing 1.0.3 makes of Chinese text (traditional to simplified characters,
// full-width marks to half-width ones; interjections and 儿 are kept). Clubs' names before a score
// are not known here, only countries'.
std::u32string normalize_chinese(std::u32string_view text);

}  // namespace quern::spoken
