// SPDX-License-Identifier: Apache-2.0
// Numbers as Chinese reads them aloud.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quern::spoken {

// A number that stands in text[at, end), read aloud: 1,234.5 is 一千二百三十四点五.
struct ChineseNumber {
  size_t end = 0;
  std::string spoken;       // UTF-8
  bool is_percent = false;  // 百分之…
};

// Every number that begins at text[at], the shorter before the longer: up to eight digits, a comma
// before each third, a sign, decimals, a percent sign; before it may stand 约 or 人均 if
// `takes_prefix`.
std::vector<ChineseNumber> chinese_numbers(std::u32string_view text, size_t at, bool takes_prefix);

// 0-9 of a digit, also of a full-width one; -1 of anything else.
int chinese_digit(char32_t c);

// 零 to 九.
std::string_view chinese_digit_name(int digit);

// `count` digits of text[at…] one by one; 一 is 幺 if `is_phone`, as telephone numbers are read.
// Empty if there are fewer.
std::string chinese_digits(std::u32string_view text, size_t at, size_t count, bool is_phone);

// 0 to 99: 零, 十一, 二十.
std::string chinese_small_number(int value);

// A product with a power, as in 3.5*10^2, is spelled out: 三点五乘十的二次方. The first one of the
// text alone, as the reference does; its units follow the reference also where it errs. Digits past
// what it can read (it fails there) are left.
std::u32string spell_scientific_notation(std::u32string_view text);

}  // namespace quern::spoken
