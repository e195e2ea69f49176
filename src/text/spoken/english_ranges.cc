// SPDX-License-Identifier: Apache-2.0
// Two or more numbers, times or days joined by a sign in English text, by the rules of
// WeTextProcessing 1.0.3.
#include <array>

#include "text/jinja/python_text.h"
#include "text/spoken/english_dates.h"
#include "text/spoken/english_measures.h"
#include "text/spoken/english_numbers.h"
#include "text/spoken/word_table.h"

namespace quern::spoken {
namespace {

constexpr Cost kRange = weight(1.01);

size_t skip_space(std::u32string_view text, size_t at) {
  return is_at(text, at, U' ') ? at + 1 : at;
}

void add_weekdays(std::u32string_view text, size_t at, Readings& out) {
  static const WordTable weekdays(
      "Mon=Monday|Mon.=Monday|Tu=Tuesday|Tu.=Tuesday|Wed=Wednesday|Wed.=Wednesday|Th=Thursday|"
      "Th.=Thursday|Thur=Thursday|Thur.=Thursday|Thurs=Thursday|Thurs.=Thursday|Fri=Friday|"
      "Fri.=Friday|Sat=Saturday|Sat.=Saturday|Sun=Sunday|Sun.=Sunday");
  for (const WordTable::Match& first : weekdays.at(text, at)) {
    const size_t dash = skip_space(text, first.end);
    if (!is_at(text, dash, U'-')) continue;
    for (const WordTable::Match& second : weekdays.at(text, skip_space(text, dash + 1)))
      out.push_back(
          {second.end, kRange, std::string(first.spoken) + " to " + std::string(second.spoken)});
  }
}

void add_times(std::u32string_view text, size_t at, Readings& out) {
  for (const Reading& first : english_times(text, at)) {
    const size_t dash = skip_space(text, first.end);
    if (!is_at(text, dash, U'-')) continue;
    for (const Reading& second : english_times(text, skip_space(text, dash + 1)))
      out.push_back({second.end, kRange, first.spoken + " to " + second.spoken});
  }
  if (is_at(text, at, U'~'))
    for (const Reading& time : english_times(text, at + 1))
      out.push_back({time.end, kRange, "approximately" + time.spoken});
}

// Years with four digits (and an s); where they do not begin a range, decades with two as well.
Readings plain_years(std::u32string_view text, size_t at, YearPlace place) {
  Readings out;
  if (count_digits(text, at, 1) == 0) return out;
  for (const Reading& year : english_years(text, at, place)) {
    const bool is_plain = year.end == at + 4 || (year.end == at + 5 && is_at(text, at + 4, U's'));
    if (is_plain || (place != YearPlace::alone && year.end == at + 3)) out.push_back(year);
  }
  return out;
}

void add_years(std::u32string_view text, size_t at, Readings& out) {
  for (const Reading& first : plain_years(text, at, YearPlace::alone)) {
    const size_t dash = skip_space(text, first.end);
    if (!is_at(text, dash, U'-')) continue;
    const size_t from = skip_space(text, dash + 1);
    for (const Reading& second : plain_years(text, from, YearPlace::ends_range))
      out.push_back({second.end, kRange, first.spoken + " to " + second.spoken});
    for (const EnglishInteger& second : english_integers(text, from))
      if (second.digits.size() == 2)
        out.push_back({second.end, kRange, first.spoken + " to " + second.plain()});
  }
  if (starts_with(text, at, U"mid-"))
    for (const Reading& year : plain_years(text, at + 4, YearPlace::in_date))
      out.push_back({year.end, kRange, "mid " + year.spoken});
}

struct Joint {
  std::u32string_view written;
  std::string_view spoken;
  bool may_repeat;  // with the same joint
};

constexpr std::array<Joint, 16> kJoints = {{
    {U"-", " to ", false},
    {U" -", " to ", false},
    {U"- ", " to ", false},
    {U" - ", " to ", false},
    {U":", " to ", false},
    {U" :", " to ", false},
    {U": ", " to ", false},
    {U" : ", " to ", false},
    {U"...", " ... ", false},
    {U" ... ", " ... ", false},
    {U"x", " times ", false},
    {U" x ", " times ", false},
    {U"+", " plus ", true},
    {U" + ", " plus ", true},
    {U"*", " times ", true},
    {U" * ", " times ", true},
}};
constexpr std::array<Joint, 2> kDivisions = {{
    {U"/", " divided by ", true},
    {U" / ", " divided by ", true},
}};

void add_joined(std::u32string_view text,
                const Reading& so_far,
                const Joint& joint,
                size_t count,
                Readings& out) {
  if (!starts_with(text, so_far.end, joint.written) || count >= kLongestRun) return;
  for (const EnglishInteger& number : english_integers(text, so_far.end + joint.written.size())) {
    const Reading longer{number.end,
                         so_far.cost + number.cost(),
                         so_far.spoken + std::string(joint.spoken) + number.spoken()};
    out.push_back(longer);
    if (joint.may_repeat) add_joined(text, longer, joint, count + 1, out);
  }
}

// 5x, 5x to 7x.
void add_times_over(std::u32string_view text, const Reading& first, Readings& out) {
  size_t at = first.end;
  if (is_at(text, skip_space(text, at), U'x'))
    out.push_back({skip_space(text, at) + 1, first.cost, first.spoken + " times"});
  for (const std::u32string_view x : {std::u32string_view(U" x"), std::u32string_view(U"x")}) {
    if (!starts_with(text, first.end, x)) continue;
    at = first.end + x.size();
    for (const Joint& to :
         {Joint{U" to ", " to ", false}, Joint{U"-", "-", false}, Joint{U" - ", " - ", false}}) {
      if (!starts_with(text, at, to.written)) continue;
      for (const EnglishInteger& second : english_integers(text, at + to.written.size()))
        if (starts_with(text, second.end, x))
          out.push_back({second.end + x.size(),
                         first.cost + second.cost(),
                         first.spoken + std::string(to.spoken) + second.spoken() + " x"});
    }
  }
}

// 10% to 20%, 10-20%: said once.
void add_percentages(std::u32string_view text, const Reading& first, Readings& out) {
  const size_t at = is_at(text, first.end, U'%') ? first.end + 1 : first.end;
  for (const Joint& to :
       {Joint{U" to ", " to ", false}, Joint{U"-", "-", false}, Joint{U" - ", " - ", false}}) {
    if (!starts_with(text, at, to.written)) continue;
    for (const EnglishInteger& second : english_integers(text, at + to.written.size()))
      if (is_at(text, second.end, U'%'))
        out.push_back({second.end + 1,
                       first.cost + second.cost(),
                       first.spoken + std::string(to.spoken) + second.spoken() + " percent"});
  }
}

// No. 5; the point stays.
void add_numbered(std::u32string_view text, size_t at, Readings& out) {
  constexpr std::array<std::pair<std::u32string_view, std::string_view>, 3> kWords = {
      {{U"NO", "Number"}, {U"No", "Number"}, {U"no", "number"}}};
  for (const auto& [written, spoken] : kWords) {
    if (!starts_with(text, at, written)) continue;
    for (const std::u32string_view joint :
         {std::u32string_view(U". "), std::u32string_view(U" "), std::u32string_view()}) {
      const size_t from = at + written.size();
      if (!starts_with(text, from, joint)) continue;
      for (const EnglishInteger& number : english_integers(text, from + joint.size()))
        out.push_back({number.end,
                       kRange + number.cost(),
                       std::string(spoken) + jinja::encode_utf8(joint) + number.spoken()});
    }
  }
}

}  // namespace

void add_english_ranges(std::u32string_view text, size_t at, Readings& out) {
  add_weekdays(text, at, out);
  add_times(text, at, out);
  add_years(text, at, out);
  add_numbered(text, at, out);
  if (is_at(text, at, U'~'))
    for (const EnglishInteger& number : english_integers(text, at + 1))
      out.push_back({number.end, kRange + number.cost(), "approximately" + number.spoken()});
  for (const EnglishInteger& number : english_integers(text, at)) {
    if (number.is_cut(text)) continue;
    const Reading first{number.end, kRange + number.cost(), number.spoken()};
    for (const Joint& joint : kJoints) add_joined(text, first, joint, 1, out);
    for (const Joint& joint : kDivisions) add_joined(text, first, joint, 1, out);
    add_times_over(text, first, out);
    add_percentages(text, first, out);
  }
}

}  // namespace quern::spoken
