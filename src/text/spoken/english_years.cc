// SPDX-License-Identifier: Apache-2.0
// Years in English text: four digits in pairs, decades, years with an era.
#include <array>

#include "text/spoken/english_dates.h"
#include "text/spoken/english_numbers.h"

namespace quern::spoken {
namespace {

// Two digits of a year: "oh five", "twenty"; 00 is none.
std::string pair(std::u32string_view digits, YearPlace place) {
  if (digits == U"00") return "";
  if (digits[0] != U'0') return english_integer(digits);
  return (place == YearPlace::in_date ? "zero " : "oh ") + english_integer(digits.substr(1));
}

// A year of four digits, not below 1000: "nineteen oh five", "two thousand".
std::string four_digits(std::u32string_view digits, YearPlace place) {
  const bool is_round_thousand = digits[1] == U'0' && digits[2] == U'0';
  if (digits[0] != U'1' && is_round_thousand && place != YearPlace::ends_range) {
    std::string out = english_integer(digits.substr(0, 1)) + " thousand";
    return digits[3] == U'0' ? out : out + " " + english_integer(digits.substr(3));
  }
  const std::string low = pair(digits.substr(2), place);
  return pair(digits.substr(0, 2), place) + " " + (low.empty() ? "hundred" : low);
}

std::string plural(std::string word) {
  if (!word.ends_with("y")) return word + "s";
  word.replace(word.size() - 1, 1, "ies");
  return word;
}

// The decade of a year that ends with 0: "nineteen nineties", "two thousands". Empty for those that
// the reference does not read as decades, like the 2020s.
std::string decade(std::u32string_view digits) {
  if (digits[3] != U'0') return "";
  if (digits[2] == U'0') return plural(four_digits(digits, YearPlace::alone));
  if (digits[0] != U'1') return "";
  return english_integer(digits.substr(0, 2)) + " " +
         plural(english_integer(std::u32string{digits[2], U'0'}));
}

constexpr std::array<std::pair<std::u32string_view, std::string_view>, 16> kEras = {{
    {U"A. D.", "AD"},
    {U"A.D.", "AD"},
    {U"a. d.", "AD"},
    {U"a.d.", "AD"},
    {U"A. D", "AD"},
    {U"A.D", "AD"},
    {U"a. d", "AD"},
    {U"a.d", "AD"},
    {U"B. C.", "BC"},
    {U"B.C.", "BC"},
    {U"b. c.", "BC"},
    {U"b.c.", "BC"},
    {U"B. C", "BC"},
    {U"B.C", "BC"},
    {U"b. c", "BC"},
    {U"b.c", "BC"},
}};

void add_eras(std::u32string_view text, size_t at, const std::string& year, Readings& out) {
  while (is_at(text, at, U' ')) ++at;
  for (const auto& [written, spoken] : kEras)
    if (starts_with(text, at, written))
      out.push_back({at + written.size(), {}, year + " " + std::string(spoken)});
}

void add_four_digit_years(std::u32string_view text, size_t at, YearPlace place, Readings& out) {
  const std::u32string_view digits = text.substr(at, 4);
  if (digits[0] == U'0') return;
  add_eras(text, at + 4, four_digits(digits, YearPlace::alone), out);
  if (digits[0] > U'2') return;
  out.push_back({at + 4, {}, four_digits(digits, place)});
  const std::string years = decade(digits);
  if (years.empty()) return;
  if (is_at(text, at + 4, U's')) out.push_back({at + 5, {}, years});
  if (starts_with(text, at + 4, U" s")) out.push_back({at + 6, {}, years});
}

// '90s.
void add_two_digit_decades(std::u32string_view text, size_t at, Readings& out) {
  if (is_at(text, at, U'\'')) ++at;
  if (count_digits(text, at, 2) == 2 && text[at] > U'1' && starts_with(text, at + 1, U"0s"))
    out.push_back({at + 3, {}, plural(english_integer(text.substr(at, 2)))});
}

}  // namespace

Readings english_years(std::u32string_view text, size_t at, YearPlace place) {
  Readings out;
  add_two_digit_decades(text, at, out);
  const size_t digits = count_digits(text, at, 4);
  if (digits == 4) add_four_digit_years(text, at, place, out);
  if (digits >= 3 && text[at] != U'0' && text[at + 1] != U'0')
    add_eras(text,
             at + 3,
             english_integer(text.substr(at, 1)) + " " + english_integer(text.substr(at + 1, 2)),
             out);
  return out;
}

}  // namespace quern::spoken
