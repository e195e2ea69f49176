// SPDX-License-Identifier: Apache-2.0
// Dates and times of day in Chinese text, by the rules of WeTextProcessing 1.0.3.
#include "text/spoken/chinese_dates.h"

#include <array>

#include "text/spoken/chinese_numbers.h"

namespace quern::spoken {
namespace {

struct Part {
  size_t end = 0;
  std::string spoken;
};
using Parts = std::vector<Part>;

int two_digits(std::u32string_view text, size_t at) {
  return static_cast<int>((text[at] - U'0') * 10 + (text[at + 1] - U'0'));
}

// A number of one or two digits between 1 and `most`, with `unit`: both 5 and 05. One digit only if
// `is_short_allowed`.
Parts counted(
    std::u32string_view text, size_t at, int most, std::string_view unit, bool is_short_allowed) {
  Parts out;
  const size_t digits = count_digits(text, at, 2);
  if (digits >= 1 && is_short_allowed && text[at] != U'0')
    out.push_back({at + 1, chinese_small_number(static_cast<int>(text[at] - U'0'))});
  if (digits == 2 && two_digits(text, at) >= 1 && two_digits(text, at) <= most)
    out.push_back({at + 2, chinese_small_number(two_digits(text, at))});
  for (Part& part : out) part.spoken += unit;
  return out;
}

enum class DatePart { year, month, long_month, day };

Parts parse(std::u32string_view text, size_t at, DatePart part) {
  switch (part) {
    case DatePart::month:
      return counted(text, at, 12, "月", true);
    case DatePart::long_month:
      return counted(text, at, 12, "月", false);
    case DatePart::day:
      return counted(text, at, 31, "日", true);
    case DatePart::year:
      break;
  }
  std::string year = chinese_digits(text, at, 4, false);
  if (year.empty() || chinese_digit(text[at]) == 0) return {};
  return {{at + 4, year + "年"}};
}

constexpr size_t kNone = SIZE_MAX;

// The written order of the parts, and where each is spoken: year, month, day.
struct DateForm {
  std::array<DatePart, 3> parts;
  size_t count;
  std::array<size_t, 3> spoken_order;
};

constexpr std::array<DateForm, 5> kForms = {{
    {{DatePart::year, DatePart::month, DatePart::day}, 3, {0, 1, 2}},
    {{DatePart::day, DatePart::month, DatePart::year}, 3, {2, 1, 0}},
    {{DatePart::year, DatePart::long_month}, 2, {0, 1, kNone}},
    {{DatePart::long_month, DatePart::year}, 2, {1, 0, kNone}},
    {{DatePart::long_month, DatePart::day}, 2, {0, 1, kNone}},
}};

bool is_date_separator(std::u32string_view text, size_t at) {
  return is_at(text, at, U'/') || is_at(text, at, U'-') || is_at(text, at, U'.');
}

// Reads dates of one form, part by part.
class DateReader {
 public:
  DateReader(std::u32string_view text, const DateForm& form, Parts& out)
      : text_(text), form_(form), out_(out) {}

  // The parts from `index` on, which begin at text[at].
  void read(size_t at, size_t index) {
    for (const Part& part : parse(text_, at, form_.parts[index])) {
      spoken_[index] = part.spoken;
      if (index + 1 == form_.count)
        add(part.end);
      else if (is_date_separator(text_, part.end))
        read(part.end + 1, index + 1);
    }
  }

 private:
  void add(size_t end) {
    Part whole{end, ""};
    for (const size_t i : form_.spoken_order)
      if (i != kNone) whole.spoken += spoken_[i];
    out_.push_back(whole);
  }

  std::u32string_view text_;
  const DateForm& form_;
  Parts& out_;
  std::vector<std::string> spoken_ = std::vector<std::string>(form_.parts.size());
};

Parts dates_at(std::u32string_view text, size_t at) {
  Parts out;
  for (const DateForm& form : kForms) DateReader(text, form, out).read(at, 0);
  return out;
}

constexpr std::array<std::pair<std::u32string_view, std::string_view>, 10> kHalves = {{
    {U"a m", "上午"},
    {U"a.m.", "上午"},
    {U"am", "上午"},
    {U"A M", "上午"},
    {U"AM", "上午"},
    {U"p m", "下午"},
    {U"p.m.", "下午"},
    {U"pm", "下午"},
    {U"P M", "下午"},
    {U"PM", "下午"},
}};

bool is_colon(std::u32string_view text, size_t at) {
  return is_at(text, at, U':') || is_at(text, at, U'：');
}

// 00 to 59 with its unit; 00 is silent, and 05 is 零五分 but 五秒.
bool read_sixtieth(std::u32string_view text, size_t at, bool is_minute, std::string& spoken) {
  if (count_digits(text, at, 2) < 2 || two_digits(text, at) > 59) return false;
  const int value = two_digits(text, at);
  if (value == 0) return true;
  if (is_minute && value < 10) spoken += "零";
  spoken += chinese_small_number(value);
  spoken += is_minute ? "分" : "秒";
  return true;
}

// With what may follow a time: one space, then which half of the day, which is spoken first.
void add_halves(std::u32string_view text, const Part& time, Parts& out) {
  out.push_back(time);
  const auto halves_at = [&](size_t at) {
    for (const auto& [written, spoken] : kHalves)
      if (starts_with(text, at, written))
        out.push_back({at + written.size(), std::string(spoken) + time.spoken});
  };
  halves_at(time.end);
  if (!is_at(text, time.end, U' ')) return;
  out.push_back({time.end + 1, time.spoken});
  halves_at(time.end + 1);
}

Parts times_at(std::u32string_view text, size_t at) {
  Parts out;
  const size_t digits = count_digits(text, at, 2);
  for (size_t count = 1; count <= digits; ++count) {
    const int hour = count == 2 ? two_digits(text, at) : static_cast<int>(text[at] - U'0');
    if (hour > 24 || (count == 1 && hour == 0) || !is_colon(text, at + count)) continue;
    Part time{at + count + 3, (hour == 2 ? "两" : chinese_small_number(hour)) + "点"};
    if (!read_sixtieth(text, at + count + 1, true, time.spoken)) continue;
    add_halves(text, time, out);
    if (is_colon(text, time.end) && read_sixtieth(text, time.end + 1, false, time.spoken)) {
      time.end += 3;
      add_halves(text, time, out);
    }
  }
  return out;
}

using Parser = Parts (*)(std::u32string_view, size_t);

// One, and two with - or ~ between, read 到.
void add_ranges(std::u32string_view text, size_t at, Parser parser, Cost cost, Readings& out) {
  for (const Part& first : parser(text, at)) {
    out.push_back({first.end, cost, first.spoken});
    if (!is_at(text, first.end, U'-') && !is_at(text, first.end, U'~')) continue;
    for (const Part& second : parser(text, first.end + 1))
      out.push_back({second.end, cost, first.spoken + "到" + second.spoken});
  }
}

}  // namespace

void add_chinese_dates(std::u32string_view text, size_t at, Readings& out) {
  add_ranges(text, at, dates_at, weight(1.02), out);
}

void add_chinese_times(std::u32string_view text, size_t at, Readings& out) {
  add_ranges(text, at, times_at, weight(1.05), out);
}

}  // namespace quern::spoken
