// SPDX-License-Identifier: Apache-2.0
// Numbers as English reads them aloud.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/spoken/readings.h"

namespace quern::spoken {

// The integer of these digits (1 to 15, no leading zero but a single 0): "one hundred twelve".
// Empty if they are none.
std::string english_integer(std::u32string_view digits);

// The same with the "and" of speech: "one hundred and twelve", "two thousand and five".
std::string with_and(const std::string& integer);

// Digits one by one; 0 is "oh".
std::string english_digits(std::u32string_view digits);

// "twelve" as "twelfth", "twenty one" as "twenty first".
std::string english_ordinal(const std::string& integer);

struct EnglishInteger {
  size_t end = 0;
  std::u32string digits;  // without commas

  std::string plain() const { return english_integer(digits); }  // one hundred twelve
  std::string spoken() const { return with_and(plain()); }       // one hundred and twelve
  Cost cost() const;
  // Whether a digit follows, so that no unit or sign can.
  bool is_cut(std::u32string_view text) const {
    return end < text.size() && is_ascii_digit(text[end]);
  }
};

// Every integer that begins at text[at], the shorter before the longer: 1 to 15 digits, or groups
// of three between commas.
std::vector<EnglishInteger> english_integers(std::u32string_view text, size_t at);

struct EnglishDecimal {
  size_t end = 0;
  std::u32string whole;     // its digits before the point; may be empty
  std::u32string fraction;  // and behind it
  std::string spoken;       // one point oh five, one point five million
  Cost cost;
};

// How a decimal is read: in money a zero before the point stays "zero" and the short forms of
// quantities count too ($5M).
enum class DecimalStyle { plain, money };

// Every decimal that begins at text[at], also with a quantity behind it; and integers with a
// quantity (5 million).
std::vector<EnglishDecimal> english_decimals(std::u32string_view text,
                                             size_t at,
                                             DecimalStyle style);

// A fraction with a slash, or one of the characters made of one: "one half", "two and a half".
Readings english_fractions(std::u32string_view text, size_t at);

// Adds the readings of numbers that stand for themselves: 12, -12, 007, 12th, 1.5 million, 1/2.
void add_english_numbers(std::u32string_view text, size_t at, Readings& out);

}  // namespace quern::spoken
