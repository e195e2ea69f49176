// SPDX-License-Identifier: Apache-2.0
// Numbers as English reads them aloud, by the rules of WeTextProcessing 1.0.3. Where these allow
// several readings of equal cost, the one that it was seen to choose is written here.
#include "text/spoken/english_numbers.h"

#include <array>

#include "text/jinja/python_text.h"

namespace quern::spoken {
namespace {

constexpr std::array<std::string_view, 20> kSmall = {
    "zero",     "one",     "two",     "three",     "four",     "five",    "six",
    "seven",    "eight",   "nine",    "ten",       "eleven",   "twelve",  "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"};
constexpr std::array<std::string_view, 10> kTens = {
    "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"};
constexpr std::array<std::string_view, 5> kGroups = {
    "", "thousand", "million", "billion", "trillion"};
constexpr size_t kMostDigits = 15;
// Two costs of the reference: a number as it stands, and one that gets its "and".
constexpr Cost kPlainCost = small_weight(0.00001), kAndCost = small_weight(-0.0001);

void append_word(std::string& out, std::string_view word) {
  if (!out.empty()) out += ' ';
  out += word;
}

// 1 to 999.
void append_group(std::string& out, size_t value) {
  if (value >= 100) {
    append_word(out, kSmall[value / 100]);
    append_word(out, "hundred");
    value %= 100;
  }
  if (value >= 20) {
    append_word(out, kTens[value / 10]);
    value %= 10;
  }
  if (value > 0) append_word(out, kSmall[value]);
}

constexpr std::array<std::u32string_view, 12> kQuantities = {U"thousand",
                                                             U"million",
                                                             U"billion",
                                                             U"trillion",
                                                             U"quadrillion",
                                                             U"quintillion",
                                                             U"sextillion",
                                                             U"septillion",
                                                             U"octillion",
                                                             U"nonillion",
                                                             U"decillion",
                                                             U"centillion"};
constexpr std::array<std::pair<std::u32string_view, std::string_view>, 10> kShortQuantities = {{
    {U"M", "million"},
    {U"MLN", "million"},
    {U"m", "million"},
    {U"mln", "million"},
    {U"B", "billion"},
    {U"b", "billion"},
    {U"BN", "billion"},
    {U"bn", "billion"},
    {U"K", "thousand"},
    {U"k", "thousand"},
}};

// Adds `number` with each quantity that follows it.
void add_quantities(std::u32string_view text,
                    const EnglishDecimal& number,
                    DecimalStyle style,
                    std::vector<EnglishDecimal>& out) {
  const size_t at = is_at(text, number.end, U' ') ? number.end + 1 : number.end;
  const bool is_integer = number.fraction.empty();
  const auto add = [&](std::u32string_view written, std::string_view spoken) {
    if (!starts_with(text, at, written)) return;
    if (is_integer && spoken == "thousand") return;
    EnglishDecimal whole = number;
    whole.end = at + written.size();
    whole.spoken += " " + std::string(spoken);
    out.push_back(whole);
  };
  for (const std::u32string_view quantity : kQuantities)
    add(quantity, jinja::encode_utf8(quantity));
  if (style == DecimalStyle::money)
    for (const auto& [written, spoken] : kShortQuantities) add(written, spoken);
}

// The fractions that begin behind the point at text[point], of every length.
void add_fraction_digits(std::u32string_view text,
                         size_t point,
                         const EnglishInteger& whole,
                         DecimalStyle style,
                         std::vector<EnglishDecimal>& out) {
  const size_t digits = count_digits(text, point + 1);
  const std::string spoken = whole.digits.empty() ? "" : whole.spoken();
  for (size_t count = 1; count <= digits; ++count) {
    EnglishDecimal number;
    number.end = point + 1 + count;
    number.whole = whole.digits;
    number.fraction = text.substr(point + 1, count);
    if (!spoken.empty()) number.cost = whole.cost();
    // Zeros are all "oh" or all "zero".
    const bool is_oh = style == DecimalStyle::plain && spoken == "zero" &&
                       number.fraction.find(U'0') != std::u32string::npos;
    number.spoken = is_oh ? "oh" : spoken;
    append_word(number.spoken, "point " + english_digits(number.fraction));
    out.push_back(number);
    add_quantities(text, number, style, out);
  }
}

constexpr std::array<std::u32string_view, 8> kOrdinalEndings = {
    U"rd", U"th", U"st", U"nd", U"RD", U"TH", U"ST", U"ND"};

std::string denominator_of(const std::string& number, bool is_plural) {
  if (number == "one") return "over one";
  if (number == "two") return is_plural ? "halves" : "half";
  std::string out = number == "four" ? "quarter" : english_ordinal(number);
  return is_plural ? out + "s" : out;
}

std::string say_fraction(const std::string& whole,
                         const std::string& above,
                         const std::string& below) {
  const std::string part = above + " " + denominator_of(below, above != "one");
  if (whole.empty()) return part;
  return whole + (part == "one half" ? " and a half" : " and " + part);
}

struct FractionCharacter {
  char32_t written;
  std::string_view above, below;
};

constexpr std::array<FractionCharacter, 18> kFractionCharacters = {{
    {U'¼', "one", "four"},
    {U'½', "one", "two"},
    {U'¾', "three", "four"},
    {U'⅐', "one", "seven"},
    {U'⅑', "one", "nine"},
    {U'⅒', "one", "ten"},
    {U'⅓', "one", "three"},
    {U'⅔', "two", "three"},
    {U'⅕', "one", "five"},
    {U'⅖', "two", "five"},
    {U'⅗', "three", "five"},
    {U'⅘', "four", "five"},
    {U'⅙', "one", "six"},
    {U'⅚', "five", "six"},
    {U'⅛', "one", "eight"},
    {U'⅜', "three", "eight"},
    {U'⅝', "five", "eight"},
    {U'⅞', "seven", "eight"},
}};

// Fractions without a whole number before them, which is `whole`.
void add_simple_fractions(std::u32string_view text,
                          size_t at,
                          const std::string& whole,
                          Readings& out) {
  for (const EnglishInteger& above : english_integers(text, at)) {
    size_t slash = above.end;
    if (starts_with(text, slash, U" / "))
      slash += 3;
    else if (is_at(text, slash, U'/'))
      slash += 1;
    else
      continue;
    for (const EnglishInteger& below : english_integers(text, slash)) {
      const std::string spoken = say_fraction(whole, above.plain(), below.plain());
      out.push_back({below.end, {}, spoken});
      for (const std::u32string_view ending : kOrdinalEndings)
        if (starts_with(text, below.end, ending))
          out.push_back({below.end + ending.size(), {}, spoken});
    }
  }
}

void add_fraction_character(std::u32string_view text,
                            size_t at,
                            const std::string& whole,
                            Readings& out) {
  for (const FractionCharacter& c : kFractionCharacters)
    if (is_at(text, at, c.written))
      out.push_back({at + 1, {}, say_fraction(whole, std::string(c.above), std::string(c.below))});
}

void add_cardinals(std::u32string_view text, size_t at, Readings& out) {
  const bool is_negative = is_at(text, at, U'-');
  const std::string sign = is_negative ? "negative " : "";
  if (is_negative) ++at;
  const auto add_integers = [&](size_t from, const std::string& before) {
    for (const EnglishInteger& number : english_integers(text, from)) {
      if (from != at && number.end != from + number.digits.size()) continue;  // no commas
      // Four digits alone leave the "one" of "one thousand" out.
      const bool drops_one = from == at && number.digits.size() == 4 && number.digits[0] == U'1';
      // A sign costs next to nothing more: of --5 both are marks.
      out.push_back({number.end,
                     weight(1) + number.cost() + small_weight(is_negative ? 1e-6 : 0),
                     sign + before + number.spoken().substr(drops_one ? 4 : 0)});
    }
  };
  add_integers(at, "");
  std::string zeros;
  for (size_t from = at; zeros.size() < 3 * kLongestRun && is_at(text, from, U'0'); ++from) {
    zeros += "oh ";
    add_integers(from + 1, zeros);
  }
  const size_t digits = count_digits(text, at);
  if (digits > kMostDigits)
    out.push_back({at + digits,
                   weight(1) + small_weight(0.0001),
                   sign + english_digits(text.substr(at, digits))});
}

void add_ordinals(std::u32string_view text, size_t at, Readings& out) {
  for (const EnglishInteger& number : english_integers(text, at)) {
    for (const std::u32string_view ending : kOrdinalEndings) {
      if (!starts_with(text, number.end, ending)) continue;
      const char32_t last = number.digits.back();
      const bool is_teen = number.digits.size() > 1 && number.digits.end()[-2] == U'1';
      const char32_t first = ending[0] | 0x20;
      const bool fits = first == U's'   ? last == U'1' && !is_teen
                        : first == U'n' ? last == U'2' && !is_teen
                        : first == U'r' ? last == U'3' && !is_teen
                                        : is_teen || last == U'0' || last > U'3';
      if (fits)
        out.push_back({number.end + ending.size(), weight(1), english_ordinal(number.plain())});
    }
  }
}

}  // namespace

Cost EnglishInteger::cost() const {
  const std::string words = plain();
  return with_and(words) == words ? kPlainCost : kAndCost;
}

std::string english_integer(std::u32string_view digits) {
  if (digits == U"0") return "zero";
  if (digits.empty() || digits.size() > kMostDigits || digits[0] == U'0') return "";
  std::string out;
  size_t value = 0;
  for (size_t i = 0; i < digits.size(); ++i) {
    value = value * 10 + (digits[i] - U'0');
    const size_t left = digits.size() - 1 - i;
    if (left % 3 != 0) continue;
    append_group(out, value);
    if (value > 0 && left > 0) append_word(out, kGroups[left / 3]);
    value = 0;
  }
  return out;
}

std::string with_and(const std::string& integer) {
  constexpr std::string_view kHundred = "hundred ", kThousand = "thousand ";
  const auto contains = [&](size_t from, std::string_view word) {
    return integer.find(word, from) != std::string::npos;
  };
  size_t at = integer.rfind(kHundred);
  if (at != std::string::npos && !contains(at, "thousand") && !contains(at, "million"))
    return integer.substr(0, at + kHundred.size()) + "and " + integer.substr(at + kHundred.size());
  at = integer.rfind(kThousand);
  if (at != std::string::npos && !contains(at, "hundred"))
    return integer.substr(0, at + kThousand.size()) + "and " +
           integer.substr(at + kThousand.size());
  return integer;
}

std::string english_digits(std::u32string_view digits) {
  std::string out;
  for (const char32_t c : digits) append_word(out, c == U'0' ? "oh" : kSmall[c - U'0']);
  return out;
}

std::string english_ordinal(const std::string& integer) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kEndings = {{
      {"one", "first"},
      {"two", "second"},
      {"three", "third"},
      {"four", "fourth"},
      {"five", "fifth"},
      {"six", "sixth"},
      {"seven", "seventh"},
      {"eight", "eighth"},
      {"nine", "ninth"},
      {"twelve", "twelfth"},
      {"ty", "tieth"},
  }};
  for (const auto& [cardinal, ordinal] : kEndings)
    if (integer.ends_with(cardinal))
      return integer.substr(0, integer.size() - cardinal.size()) + std::string(ordinal);
  return integer + "th";
}

std::vector<EnglishInteger> english_integers(std::u32string_view text, size_t at) {
  std::vector<EnglishInteger> out;
  const size_t digits = count_digits(text, at, kMostDigits);
  if (digits > 0 && text[at] == U'0') return {{at + 1, U"0"}};
  for (size_t count = 1; count <= digits; ++count) {
    std::u32string number(text.substr(at, count));
    out.push_back({at + count, number});
    if (count > 3) continue;
    size_t end = at + count;
    while (number.size() + 3 <= kMostDigits && is_at(text, end, U',') &&
           count_digits(text, end + 1, 3) == 3) {
      number += text.substr(end + 1, 3);
      end += 4;
      out.push_back({end, number});
    }
  }
  return out;
}

std::vector<EnglishDecimal> english_decimals(std::u32string_view text,
                                             size_t at,
                                             DecimalStyle style) {
  std::vector<EnglishDecimal> out;
  if (is_at(text, at, U'.')) add_fraction_digits(text, at, {}, style, out);
  for (const EnglishInteger& whole : english_integers(text, at)) {
    if (is_at(text, whole.end, U'.')) add_fraction_digits(text, whole.end, whole, style, out);
    if (whole.digits.size() > 3 || whole.digits == U"0") continue;
    add_quantities(text, {whole.end, whole.digits, U"", whole.plain(), {}}, style, out);
  }
  return out;
}

Readings english_fractions(std::u32string_view text, size_t at) {
  Readings out;
  add_simple_fractions(text, at, "", out);
  add_fraction_character(text, at, "", out);
  for (const EnglishInteger& whole : english_integers(text, at)) {
    add_fraction_character(text, whole.end, whole.plain(), out);
    if (!is_at(text, whole.end, U' ')) continue;
    add_simple_fractions(text, whole.end + 1, whole.plain(), out);
    add_fraction_character(text, whole.end + 1, whole.plain(), out);
  }
  return out;
}

void add_english_numbers(std::u32string_view text, size_t at, Readings& out) {
  add_cardinals(text, at, out);
  add_ordinals(text, at, out);
  const bool is_negative = is_at(text, at, U'-');
  for (const EnglishDecimal& number :
       english_decimals(text, is_negative ? at + 1 : at, DecimalStyle::plain))
    out.push_back(
        {number.end, weight(1) + number.cost, (is_negative ? "minus " : "") + number.spoken});
  for (Reading fraction : english_fractions(text, at)) {
    fraction.cost += weight(1);
    out.push_back(std::move(fraction));
  }
}

}  // namespace quern::spoken
