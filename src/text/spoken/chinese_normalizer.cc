// SPDX-License-Identifier: Apache-2.0
// Chinese text with its numbers spelled out: which rules there are, what they cost, and the
// cheapest way through. Rules and costs follow WeTextProcessing 1.0.3.
#include "text/spoken/chinese_normalizer.h"

#include <array>

#include "text/jinja/python_text.h"
#include "text/spoken/chinese_dates.h"
#include "text/spoken/chinese_measures.h"
#include "text/spoken/chinese_numbers.h"
#include "text/spoken/chinese_words.h"
#include "text/spoken/readings.h"
#include "text/spoken/simplified_characters.h"

namespace quern::spoken {
namespace {

constexpr Cost kCardinal = weight(1.06), kPhone = weight(0.06), kMath = weight(90),
               kCharacter = weight(100);

size_t skip_space(std::u32string_view text, size_t at) {
  return is_at(text, at, U' ') ? at + 1 : at;
}

void add_fractions(std::u32string_view text, size_t at, Readings& out) {
  for (const ChineseNumber& above : chinese_numbers(text, at, true)) {
    const size_t slash = skip_space(text, above.end);
    if (!is_at(text, slash, U'/')) continue;
    for (const ChineseNumber& below : chinese_numbers(text, skip_space(text, slash + 1), true))
      out.push_back({below.end, weight(1.05), below.spoken + "分之" + above.spoken});
  }
}

void add_money(std::u32string_view text, size_t at, Readings& out) {
  for (const WordTable::Match& currency : chinese_currencies().at(text, at))
    for (const ChineseNumber& number : chinese_numbers(text, skip_space(text, currency.end), true))
      out.push_back({number.end, weight(1.05), number.spoken + std::string(currency.spoken)});
}

void add_scores(std::u32string_view text, size_t at, Readings& out) {
  for (const WordTable::Match& team : chinese_countries().at(text, at))
    for (const ChineseNumber& ours : chinese_numbers(text, skip_space(text, team.end), true)) {
      if (!is_at(text, ours.end, U'/') && !is_at(text, ours.end, U'-') &&
          !is_at(text, ours.end, U':'))
        continue;
      for (const ChineseNumber& theirs : chinese_numbers(text, ours.end + 1, true))
        out.push_back({skip_space(text, theirs.end),
                       weight(1.04),
                       std::string(team.spoken) + ours.spoken + "比" + theirs.spoken});
    }
}

// How many digits stand at text[at], full-width ones too.
size_t count_any_digits(std::u32string_view text, size_t at) {
  size_t count = 0;
  while (count < kLongestRun && at + count < text.size() && chinese_digit(text[at + count]) >= 0)
    ++count;
  return count;
}

// Runs of digits joined by `joint`, so many of them: 127.0.0.1, 400-123-4567.
void add_joined_digits(
    std::u32string_view text, size_t at, size_t runs, char32_t joint, Readings& out) {
  std::string spoken;
  for (size_t run = 0; run < runs; ++run) {
    if (run > 0) {
      if (!is_at(text, at, joint)) return;
      ++at;
      if (joint == U'.') spoken += "点";
    }
    const size_t count = count_any_digits(text, at);
    if (count == 0) return;
    spoken += chinese_digits(text, at, count, false);
    at += count;
  }
  out.push_back({at, kCardinal, spoken});
}

void add_digit_strings(std::u32string_view text, size_t at, Readings& out) {
  for (const ChineseNumber& number : chinese_numbers(text, at, false))
    if (number.is_percent) out.push_back({number.end, kCardinal, number.spoken});
  add_joined_digits(text, at, 4, U'.', out);
  add_joined_digits(text, at, 3, U'-', out);
  const std::string area = chinese_digits(text, at, 3, false);
  if (!area.empty() && is_at(text, at + 3, U'-')) {
    const std::string local = chinese_digits(text, at + 4, 8, false);
    if (!local.empty()) out.push_back({at + 12, kCardinal, area + local});
  }
  for (const size_t count : {size_t{3}, size_t{5}, size_t{11}}) {
    const std::string phone = chinese_digits(text, at, count, true);
    if (!phone.empty()) out.push_back({at + count, kPhone, phone});
  }
}

// 尾号1234, 尾号是1234.
void add_last_digits(std::u32string_view text, size_t at, Readings& out) {
  if (!starts_with(text, at, U"尾号")) return;
  std::string spoken = "尾号";
  size_t from = at + 2;
  if (is_at(text, from, U'是'))
    spoken += "是", ++from;
  else if (is_at(text, from, U'为'))
    spoken += "为", ++from;
  const std::string digits = chinese_digits(text, from, 4, true);
  if (!digits.empty()) out.push_back({from + 4, kPhone, spoken + digits});
}

struct Operator {
  std::u32string_view written;
  std::string_view spoken;
  bool is_read_alone;  // without numbers beside it
};

constexpr std::array<Operator, 13> kOperators = {{
    {U"×", "乘", true},
    {U"-", "减", true},
    {U"+", "加", true},
    {U"=", "等于", true},
    {U"÷", "除", true},
    {U"≥", "大于等于", true},
    {U"≤", "小于等于", true},
    {U">=", "大于等于", true},
    {U"<=", "小于等于", true},
    {U"~", "到", false},
    {U":", "比", false},
    {U"<", "小于", false},
    {U">", "大于", false},
}};

// Extends `so_far`, which ends with a number, by operators and numbers.
void add_terms(std::u32string_view text, const Reading& so_far, size_t terms, Readings& out) {
  out.push_back(so_far);
  if (terms >= kLongestRun) return;
  const size_t at = skip_space(text, so_far.end);
  for (const Operator& op : kOperators) {
    if (!starts_with(text, at, op.written)) continue;
    for (const ChineseNumber& number :
         chinese_numbers(text, skip_space(text, at + op.written.size()), true))
      add_terms(text,
                {number.end, so_far.cost, so_far.spoken + std::string(op.spoken) + number.spoken},
                terms + 1,
                out);
  }
}

void add_math(std::u32string_view text, size_t at, Readings& out) {
  for (const ChineseNumber& number : chinese_numbers(text, at, true))
    add_terms(text, {number.end, kMath, number.spoken}, 1, out);
  for (const Operator& op : kOperators)
    if (op.is_read_alone && starts_with(text, at, op.written))
      out.push_back({at + op.written.size(), kMath, std::string(op.spoken)});
}

void add_readings(std::u32string_view text, size_t at, Readings& out) {
  add_chinese_dates(text, at, out);
  for (const WordTable::Match& word : chinese_fixed_words().at(text, at))
    out.push_back({word.end, weight(1.03), std::string(word.spoken)});
  add_scores(text, at, out);
  add_fractions(text, at, out);
  add_chinese_measures(text, at, out);
  add_money(text, at, out);
  add_chinese_times(text, at, out);
  add_digit_strings(text, at, out);
  add_last_digits(text, at, out);
  add_math(text, at, out);
  out.push_back({at + 1, kCharacter, "", ReadingKind::verbatim});
}

// Full-width letters, digits and marks become half-width; the square brackets do not.
char32_t half_width(char32_t c) {
  if (c == U'。') return U'.';
  if (c == U'“' || c == U'”') return U'"';
  const bool is_wide = c >= U'！' && c <= U'～' && c != U'［' && c != U'］';
  return is_wide ? c - (U'！' - U'!') : c;
}

}  // namespace

std::u32string normalize_chinese(std::u32string_view text) {
  std::u32string plain(text);
  for (char32_t& c : plain) c = simplified(c);
  std::u32string out;
  for (const Stretch& stretch : read_cheapest(
           plain, [&](size_t at, Readings&readings) { add_readings(plain, at, readings); })) {
    if (stretch.kind == ReadingKind::spoken)
      out += jinja::decode_utf8(stretch.spoken);
    else
      out += half_width(plain[stretch.begin]);
  }
  return out;
}

}  // namespace quern::spoken
