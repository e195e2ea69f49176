// SPDX-License-Identifier: Apache-2.0
// English text with its numbers, dates, times, money and units spelled out.
#pragma once

#include <string>
#include <string_view>

namespace quern::spoken {

// What WeTextProcessing 1.0.3 makes of English text, but for postal addresses, Roman numerals and
// fractions of ordinals.
std::u32string normalize_english(std::u32string_view text);

}  // namespace quern::spoken
