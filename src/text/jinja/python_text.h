// SPDX-License-Identifier: Apache-2.0
// Text as Python sees it: code points, their classes, changes of case, quoting.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace quern::jinja {

bool is_ascii(std::string_view text);
size_t char_count(std::string_view text);
std::u32string decode_utf8(std::string_view text);  // of valid UTF-8
std::string encode_utf8(std::u32string_view text);

// Python's str.isspace and so on, of one code point.
bool is_space(char32_t c);
bool is_alpha(char32_t c);
bool is_decimal(char32_t c);
bool is_digit(char32_t c);
bool is_numeric(char32_t c);
bool is_printable(char32_t c);
bool is_word(char32_t c);  // \w
bool is_upper_case(char32_t c);
bool is_lower_case(char32_t c);
bool is_title_case(char32_t c);

std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string to_title(std::string_view text);  // str.title
std::string capitalize(std::string_view text);
std::string swap_case(std::string_view text);

// repr(): quoted with ', or with " where the text holds ' and no ".
void append_quoted(std::string_view text, std::string& out);

}  // namespace quern::jinja
