// SPDX-License-Identifier: Apache-2.0
// Numbers with units and in equations in English text, by the rules of WeTextProcessing 1.0.3.
#include <array>
#include <optional>

#include "text/spoken/english_measures.h"
#include "text/spoken/english_numbers.h"
#include "text/spoken/english_words.h"

namespace quern::spoken {
namespace {

constexpr Cost kMeasure = weight(1);

size_t skip_space(std::u32string_view text, size_t at) {
  return is_at(text, at, U' ') ? at + 1 : at;
}

struct UnitText {
  size_t end = 0;
  std::string spoken;
};

// "/kg" as "per kilogram".
std::vector<UnitText> denominators(std::u32string_view text, size_t at) {
  std::vector<UnitText> out;
  if (!is_at(text, at, U'/')) return out;
  for (const size_t from : {at + 1, skip_space(text, at + 1)})
    for (const CountedWord& unit : english_units(text, from))
      out.push_back({unit.end, "per " + unit.one});
  return out;
}

// The units at text[at], with what they are divided by.
std::vector<UnitText> units_at(std::u32string_view text, size_t at, bool is_one) {
  std::vector<UnitText> out = denominators(text, at);
  for (const CountedWord& unit : english_units(text, at)) {
    const std::string& word = is_one ? unit.one : unit.many;
    out.push_back({unit.end, word});
    for (const UnitText& below : denominators(text, skip_space(text, unit.end)))
      out.push_back({below.end, word + " " + below.spoken});
  }
  return out;
}

// Two numbers with a joint between them, or one number and "times".
void add_pairs(std::u32string_view text, const EnglishInteger& first, Readings& out) {
  struct Joint {
    std::u32string_view written;
    std::string_view spoken;
    bool may_end;
  };
  constexpr std::array<Joint, 6> kJoints = {{
      {U"-", " to ", false},
      {U" - ", " to ", false},
      {U"x", " times ", true},
      {U" x ", " times ", true},
      {U"*", " times ", false},
      {U" * ", " times ", false},
  }};
  for (const Joint& joint : kJoints) {
    if (!starts_with(text, first.end, joint.written)) continue;
    const size_t from = first.end + joint.written.size();
    const std::string so_far = first.spoken() + std::string(joint.spoken);
    if (joint.may_end) out.push_back({from, first.cost(), so_far});
    for (const EnglishInteger& second : english_integers(text, from))
      out.push_back({second.end, first.cost() + second.cost(), so_far + second.spoken()});
  }
}

void add_units(std::u32string_view text,
               const Reading& number,
               const std::string& sign,
               bool is_one,
               Readings& out) {
  for (const UnitText& unit : units_at(text, skip_space(text, number.end), is_one))
    out.push_back({unit.end,
                   kMeasure + number.cost,
                   sign + number.spoken + " " + unit.spoken,
                   sign == "negative " ? ReadingKind::negative_measure : ReadingKind::spoken});
}

void add_counted_units(std::u32string_view text, size_t at, Readings& out) {
  const bool is_negative = is_at(text, at, U'-');
  const size_t from = is_negative ? at + 1 : at;
  for (const EnglishInteger& number : english_integers(text, from)) {
    if (number.is_cut(text)) continue;
    const bool is_one = number.digits == U"1";
    Readings numbers = {{number.end, is_one ? Cost() : number.cost(), number.spoken()}};
    add_pairs(text, number, numbers);
    for (size_t i = 0; i < numbers.size(); ++i)
      add_units(text, numbers[i], is_negative ? "negative " : "", is_one && i == 0, out);
  }
  for (const EnglishDecimal& number : english_decimals(text, from, DecimalStyle::plain))
    add_units(
        text, {number.end, number.cost, number.spoken}, is_negative ? "minus " : "", false, out);
  for (const Reading& fraction : english_fractions(text, at))
    add_units(text, fraction, "", false, out);
}

size_t letters_end(std::u32string_view text, size_t at) {
  size_t end = at;
  while (end < text.size() && end - at < kLongestRun && is_ascii_letter(text[end])) ++end;
  return end;
}

std::string as_ascii(std::u32string_view text) {
  std::string out;
  for (const char32_t c : text) out += static_cast<char>(c);
  return out;
}

// A decimal tied to a word: 3.5-inch, 2.5x, 98.5 FM, GPT-4.5.
void add_tied_decimals(std::u32string_view text, size_t at, Readings& out) {
  for (const EnglishDecimal& number : english_decimals(text, at, DecimalStyle::plain)) {
    const auto add = [&](size_t end, const std::string& behind) {
      out.push_back({end, kMeasure + number.cost, number.spoken + " " + behind});
    };
    if (is_at(text, number.end, U'x') || is_at(text, number.end, U'X')) add(number.end + 1, "x");
    const size_t from = skip_space(text, number.end);
    if (starts_with(text, from, U"FM")) add(from + 2, "FM");
    if (starts_with(text, from, U"AM")) add(from + 2, "AM");
    if (!is_at(text, number.end, U'-')) continue;
    const size_t end = letters_end(text, number.end + 1);
    if (end > number.end + 1) add(end, as_ascii(text.substr(number.end + 1, end - number.end - 1)));
  }
  const size_t end = letters_end(text, at);
  if (end == at || !is_at(text, end, U'-')) return;
  for (const EnglishDecimal& number : english_decimals(text, end + 1, DecimalStyle::plain))
    out.push_back({number.end,
                   kMeasure + number.cost,
                   as_ascii(text.substr(at, end - at)) + "- " + number.spoken});
}

// A unit by itself: "/kg", "per hour".
void add_lone_units(std::u32string_view text, size_t at, Readings& out) {
  for (const UnitText& unit : denominators(text, at))
    out.push_back({unit.end, kMeasure, "- " + unit.spoken});
  if (!starts_with(text, at, U"per ")) return;
  for (const CountedWord& unit : english_units(text, at + 4))
    out.push_back({unit.end, kMeasure, "- per " + unit.one});
}

std::optional<std::string_view> operator_name(std::u32string_view text, size_t at) {
  if (at >= text.size()) return std::nullopt;
  switch (text[at]) {
    case U'+':
      return "plus";
    case U'-':
      return "minus";
    case U'/':
    case U'÷':
    case U':':
      return "divided";
    case U'×':
    case U'*':
    case U'·':
      return "times";
    default:
      return std::nullopt;
  }
}

// A term of an equation: a number or one letter.
Readings terms(std::u32string_view text, size_t at, bool takes_letter) {
  Readings out;
  for (const EnglishInteger& number : english_integers(text, at))
    if (!number.is_cut(text)) out.push_back({number.end, number.cost(), number.spoken()});
  if (takes_letter && at < text.size() && is_ascii_letter(text[at]))
    out.push_back({at + 1, {}, std::string(1, static_cast<char>(text[at]))});
  return out;
}

// "a + 5 = b" and "a = b + 5", with or without spaces.
void add_equations(std::u32string_view text, size_t at, Readings& out) {
  for (const Reading& first : terms(text, at, true)) {
    const size_t joint = skip_space(text, first.end);
    const bool begins_with_equals = is_at(text, joint, U'=');
    const auto name_at = [&](size_t from, bool wants_equals) {
      if (wants_equals)
        return is_at(text, from, U'=') ? std::optional<std::string_view>("equals") : std::nullopt;
      return operator_name(text, from);
    };
    const auto name = name_at(joint, begins_with_equals);
    if (!name) continue;
    for (const Reading& second : terms(text, skip_space(text, joint + 1), begins_with_equals)) {
      const size_t next = skip_space(text, second.end);
      const auto next_name = name_at(next, !begins_with_equals);
      if (!next_name) continue;
      for (const Reading& third : terms(text, skip_space(text, next + 1), !begins_with_equals))
        out.push_back({third.end,
                       kMeasure + first.cost + second.cost + third.cost,
                       first.spoken + " " + std::string(*name) + " " + second.spoken + " " +
                           std::string(*next_name) + " " + third.spoken});
    }
  }
}

}  // namespace

void add_english_measures(std::u32string_view text, size_t at, Readings& out) {
  add_counted_units(text, at, out);
  add_tied_decimals(text, at, out);
  add_lone_units(text, at, out);
  add_equations(text, at, out);
}

void add_english_money(std::u32string_view text, size_t at, Readings& out) {
  for (const CountedWord& currency : english_currencies(text, at)) {
    for (const EnglishInteger& number : english_integers(text, currency.end)) {
      const bool is_one = number.digits == U"1";
      Reading amount{number.end,
                     weight(1) + (is_one ? Cost() : number.cost()),
                     number.spoken() + " " + (is_one ? currency.one : currency.many)};
      out.push_back(amount);
      if (!is_at(text, number.end, U'.')) continue;
      for (amount.end = number.end + 1; is_at(text, amount.end, U'0');) {  // $5.00
        ++amount.end;
        amount.cost += weight(-0.2);
        out.push_back(amount);
        if (amount.end - number.end > kLongestRun) break;
      }
    }
    for (const EnglishDecimal& number : english_decimals(text, currency.end, DecimalStyle::money)) {
      Reading amount{number.end, weight(1) + number.cost, number.spoken + " " + currency.many};
      out.push_back(amount);
      const bool has_quantity = !is_ascii_digit(text[number.end - 1]);
      for (size_t zeros = 0; !has_quantity && zeros < kLongestRun; ++zeros) {  // $5.50
        if (!is_at(text, amount.end, U'0')) break;
        ++amount.end;
        amount.cost += weight(-0.01);
        out.push_back(amount);
      }
    }
  }
}

}  // namespace quern::spoken
