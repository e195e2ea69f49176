// SPDX-License-Identifier: Apache-2.0
// Dates in English text, by the rules of WeTextProcessing 1.0.3: all are read "the fifth of march,
// twenty eleven", however they are written.
#include "text/spoken/english_dates.h"

#include <array>

#include "text/jinja/python_text.h"
#include "text/spoken/english_numbers.h"

namespace quern::spoken {
namespace {

constexpr std::array<std::string_view, 12> kMonths = {"january",
                                                      "february",
                                                      "march",
                                                      "april",
                                                      "may",
                                                      "june",
                                                      "july",
                                                      "august",
                                                      "september",
                                                      "october",
                                                      "november",
                                                      "december"};

// Costs: a year alone; a date with a month's name; a date of three numbers.
constexpr Cost kYear = weight(0.99), kDate = weight(0.89), kNumericDate = weight(-0.11);

bool is_spaces(std::u32string_view text, size_t at, size_t& end) {
  end = at;
  while (is_at(text, end, U' ')) ++end;
  return end > at;
}

bool is_ascii_mark(char32_t c) {
  return c > U' ' && c < 0x7F && !is_ascii_digit(c) && !is_ascii_letter(c);
}

// A part of a date and where it ends.
struct Part {
  size_t end = 0;
  std::string spoken;
};
using Parts = std::vector<Part>;

// The months' names at text[at]: whole or short, in lower case, with a capital, in capitals ("May"
// only in lower case); before each, the same with the mark behind it, which is not said.
Parts months(std::u32string_view text, size_t at) {
  Parts out;
  size_t letters = 0;
  while (letters < 10 && at + letters < text.size() && is_ascii_letter(text[at + letters]))
    ++letters;
  if (letters < 3) return out;
  const std::string written = jinja::encode_utf8(text.substr(at, letters));
  const std::string lower = jinja::to_lower(written);
  const std::string upper = jinja::to_upper(written);
  const auto add = [&](std::string_view name, std::string_view spoken) {
    if (!lower.starts_with(name)) return;
    const std::string stem = written.substr(0, name.size());
    const bool is_lower = stem == name;
    const bool is_capital = stem == upper.substr(0, 1) + std::string(name.substr(1));
    const bool is_upper = stem == upper.substr(0, name.size());
    if (!is_lower && (spoken == "may" || (!is_capital && !is_upper))) return;
    out.push_back({at + name.size(), std::string(spoken)});
  };
  for (const std::string_view month : kMonths) {
    add(month, month);
    if (month != "may") add(month.substr(0, 3), month);
    if (month == "september") add("sept", month);
  }
  Parts with_marks;
  for (const Part& month : out)
    if (month.end < text.size() && is_ascii_mark(text[month.end]))
      with_marks.push_back({month.end + 1, month.spoken});
  with_marks.insert(with_marks.end(), out.begin(), out.end());
  return with_marks;
}

// 1 to 12, also 01 to 09.
Parts month_numbers(std::u32string_view text, size_t at) {
  Parts out;
  const size_t digits = count_digits(text, at, 2);
  for (size_t count = 1; count <= digits; ++count) {
    const size_t month =
        count == 1 ? text[at] - U'0' : (text[at] - U'0') * 10 + (text[at + 1] - U'0');
    if (month >= 1 && month <= 12) out.push_back({at + count, std::string(kMonths[month - 1])});
  }
  return out;
}

// 1 to 31 as an ordinal number, with "the " before and an ending behind, if they stand there.
Parts days(std::u32string_view text, size_t at) {
  constexpr std::array<std::u32string_view, 8> kEndings = {
      U"rd", U"th", U"st", U"nd", U"RD", U"TH", U"ST", U"ND"};
  Parts out;
  if (starts_with(text, at, U"the ")) at += 4;
  const size_t digits = count_digits(text, at, 2);
  for (size_t count = 1; count <= digits; ++count) {
    const std::u32string_view day = text.substr(at, count);
    if (day[0] == U'0' || (count == 2 && (day[0] > U'3' || (day[0] == U'3' && day[1] > U'1'))))
      continue;
    const std::string spoken = english_ordinal(english_integer(day));
    out.push_back({at + count, spoken});
    for (const std::u32string_view ending : kEndings)
      if (starts_with(text, at + count, ending))
        out.push_back({at + count + ending.size(), spoken});
  }
  return out;
}

Parts days_after_zero(std::u32string_view text, size_t at) {
  Parts out = days(text, at);
  if (is_at(text, at, U'0'))
    for (const Part& day : days(text, at + 1)) out.push_back(day);
  return out;
}

Parts years_in(std::u32string_view text, size_t at, YearPlace place) {
  Parts out;
  for (const Reading& year : english_years(text, at, place)) out.push_back({year.end, year.spoken});
  return out;
}

Parts years(std::u32string_view text, size_t at) {
  return years_in(text, at, YearPlace::in_date);
}

// Behind numbers alone.
Parts last_years(std::u32string_view text, size_t at) {
  return years_in(text, at, YearPlace::alone);
}

// A year behind a month or day: after a space, or after a comma, which is kept; with a comma or
// point behind it, if one stands there.
Parts years_behind(std::u32string_view text, size_t at) {
  Parts out;
  const auto add = [&](size_t from, const std::string& before) {
    for (const Part& year : years(text, from)) {
      out.push_back({year.end, before + year.spoken});
      if (is_at(text, year.end, U',')) out.push_back({year.end + 1, before + year.spoken + ","});
      if (is_at(text, year.end, U'.')) out.push_back({year.end + 1, before + year.spoken + "."});
    }
  };
  if (is_at(text, at, U' ')) add(at + 1, "");
  if (is_at(text, at, U',')) add(starts_with(text, at, U", ") ? at + 2 : at + 1, ", ");
  return out;
}

std::string say(const std::string& day, const std::string& month, const std::string& year) {
  std::string out = day.empty() ? month : "the " + day + " of " + month;
  return year.empty() ? out : out + " " + year;
}

void add_month_first(std::u32string_view text, size_t at, Readings& out) {
  for (const Part& month : months(text, at)) {
    for (const Part& year : years_behind(text, month.end))
      out.push_back({year.end, kDate, say("", month.spoken, year.spoken)});
    size_t from = 0;
    if (is_spaces(text, month.end, from))
      for (const Part& day : days(text, from)) {
        out.push_back({day.end, kDate, say(day.spoken, month.spoken, "")});
        for (const Part& year : years_behind(text, day.end))
          out.push_back({year.end, kDate, say(day.spoken, month.spoken, year.spoken)});
      }
    if (!is_at(text, month.end, U'-')) continue;
    for (const Part& day : days(text, month.end + 1)) {
      out.push_back({day.end, kDate, say(day.spoken, month.spoken, "")});
      if (is_at(text, day.end, U'-'))
        for (const Part& year : years(text, day.end + 1))
          out.push_back({year.end, kDate, say(day.spoken, month.spoken, year.spoken)});
    }
  }
}

void add_day_first(std::u32string_view text, size_t at, Readings& out) {
  size_t from = 0;
  for (const Part& day : days(text, at)) {
    if (!is_spaces(text, day.end, from)) continue;
    for (const Part& month : months(text, from)) {
      out.push_back({month.end, kDate, say(day.spoken, month.spoken, "")});
      for (const Part& year : years_behind(text, month.end))
        out.push_back({year.end, kDate, say(day.spoken, month.spoken, year.spoken)});
    }
  }
  for (const Part& year : years(text, at)) {
    if (!is_spaces(text, year.end, from)) continue;
    for (const Part& month : months(text, from)) {
      if (!is_spaces(text, month.end, from)) continue;
      for (const Part& day : days(text, from))
        out.push_back({day.end, kDate, say(day.spoken, month.spoken, year.spoken)});
    }
  }
}

using Parser = Parts (*)(std::u32string_view, size_t);

// Two days that no month could be: 13 to 31.
Parts days_beyond_months(std::u32string_view text, size_t at) {
  if (count_digits(text, at, 2) < 2 || text[at] == U'0' ||
      (text[at] == U'1' && text[at + 1] < U'3'))
    return {};
  Parts out;
  for (const Part& day : days(text, at))
    if (day.end == at + 2) out.push_back(day);
  return out;
}

// Three numbers with the same separator between them; `order` says which is day, month, year.
void add_numbers(std::u32string_view text,
                 size_t at,
                 const std::array<Parser, 3>& parsers,
                 const std::array<size_t, 3>& order,
                 Readings& out) {
  for (const Part& first : parsers[0](text, at)) {
    if (first.end >= text.size()) continue;
    const char32_t separator = text[first.end];
    if (separator != U'-' && separator != U'/' && separator != U'.') continue;
    for (const Part& second : parsers[1](text, first.end + 1)) {
      if (!is_at(text, second.end, separator)) continue;
      for (const Part& third : parsers[2](text, second.end + 1)) {
        const std::array<const Part*, 3> parts = {&first, &second, &third};
        out.push_back(
            {third.end,
             kNumericDate,
             say(parts[order[0]]->spoken, parts[order[1]]->spoken, parts[order[2]]->spoken)});
      }
    }
  }
}

// 1Q20, 2H21.
void add_financial_periods(std::u32string_view text, size_t at, Readings& out) {
  constexpr std::array<std::string_view, 4> kOrdinals = {"first", "second", "third", "fourth"};
  if (at >= text.size() || text[at] < U'1' || text[at] > U'4') return;
  const bool is_half = is_at(text, at + 1, U'H') && text[at] < U'3';
  if (!is_half && !is_at(text, at + 1, U'Q')) return;
  if (count_digits(text, at + 2, 2) < 2) return;
  const std::u32string_view digits = text.substr(at + 2, 2);
  const std::string year = digits[0] == U'0' ? english_digits(digits) : english_integer(digits);
  out.push_back({at + 4,
                 kYear,
                 "the " + std::string(kOrdinals[text[at] - U'1']) +
                     (is_half ? " half of " : " quarter of ") + year});
}

}  // namespace

void add_english_dates(std::u32string_view text, size_t at, Readings& out) {
  add_month_first(text, at, out);
  add_day_first(text, at, out);
  add_numbers(text, at, {month_numbers, days_after_zero, last_years}, {1, 0, 2}, out);
  add_numbers(text, at, {days_beyond_months, month_numbers, last_years}, {0, 1, 2}, out);
  add_numbers(text, at, {years, month_numbers, days_after_zero}, {2, 1, 0}, out);
  add_financial_periods(text, at, out);
  for (Reading year : english_years(text, at, YearPlace::alone)) {
    year.cost += kYear;
    out.push_back(std::move(year));
  }
}

}  // namespace quern::spoken
