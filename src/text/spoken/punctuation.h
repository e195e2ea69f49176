// SPDX-License-Identifier: Apache-2.0
// Punctuation and signs of text that will be read aloud: what becomes words, what goes, what stays.
// All functions take and give code points; "Chinese" means a character of U+4E00 to U+9FFF.
#pragma once

#include <string>
#include <string_view>

namespace quern::spoken {

bool contains_chinese(std::u32string_view text);

// Whether `c` is one of the marks at which speech may be cut.
bool is_pause(char32_t c);

// Chinese text behind its normaliser: brackets and quotes go, marks become ，and 。, signs and
// Greek letters become words; lower case.
std::u32string finish_chinese(std::u32string_view text);

// English text behind its normaliser: brackets and signs go, digits that are left become words, one
// space stands behind each mark; lower case.
std::u32string finish_english(std::u32string_view text);

// Both: spaces stay only between letters or digits or behind a mark; of marks in a row the last
// stays; the text ends with a full stop or a question mark.
std::u32string finish_marks(std::u32string_view text);

}  // namespace quern::spoken
