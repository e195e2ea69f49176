// SPDX-License-Identifier: Apache-2.0
// Times of day in English text.
#include <array>

#include "text/spoken/english_dates.h"
#include "text/spoken/english_numbers.h"

namespace quern::spoken {
namespace {

using Names = std::pair<std::u32string_view, std::string_view>;

constexpr std::array<Names, 12> kHalves = {{
    {U"p.m.", "PM"},
    {U"p.m", "PM"},
    {U"pm", "PM"},
    {U"P.M.", "PM"},
    {U"P.M", "PM"},
    {U"PM", "PM"},
    {U"a.m.", "AM"},
    {U"a.m", "AM"},
    {U"am", "AM"},
    {U"A.M.", "AM"},
    {U"A.M", "AM"},
    {U"AM", "AM"},
}};
constexpr std::array<Names, 14> kZones = {{
    {U"cst", "CST"},
    {U"c.s.t", "CST"},
    {U"cet", "CET"},
    {U"c.e.t", "CET"},
    {U"pst", "PST"},
    {U"p.s.t", "PST"},
    {U"est", "EST"},
    {U"e.s.t", "EST"},
    {U"pt", "PT"},
    {U"p.t", "PT"},
    {U"et", "ET"},
    {U"e.t", "ET"},
    {U"gmt", "GMT"},
    {U"g.m.t", "GMT"},
}};

// Two digits up to 59: "oh" stands for a zero before the second as "o". Empty if there are none, or
// 00.
std::string sixtieth(std::u32string_view text, size_t at, bool says_o) {
  if (count_digits(text, at, 2) < 2 || text[at] > U'5' || starts_with(text, at, U"00")) return "";
  if (text[at] != U'0') return english_integer(text.substr(at, 2));
  return (says_o ? "o " : "") + english_integer(text.substr(at + 1, 1));
}

void add_zones(std::u32string_view text, const Reading& time, Readings& out) {
  out.push_back(time);
  const size_t at = skip_spaces(text, time.end);
  for (const auto& [written, spoken] : kZones)
    if (starts_with(text, at, written))
      out.push_back({at + written.size(), {}, time.spoken + " " + std::string(spoken)});
}

// With the half of the day that may or must follow, and a zone.
void add_halves(std::u32string_view text, const Reading& time, Readings& out) {
  const size_t at = skip_spaces(text, time.end);
  for (const auto& [written, spoken] : kHalves)
    if (starts_with(text, at, written))
      add_zones(text, {at + written.size(), {}, time.spoken + " " + std::string(spoken)}, out);
}

// "twenty one hour", as the reference has it.
std::string counted(const std::string& number, std::string_view unit) {
  const bool is_one = number == "one" || number.ends_with(" one");
  return number + " " + std::string(unit) + (is_one ? "" : "s");
}

void add_hours_minutes_seconds(std::u32string_view text,
                               size_t minutes,
                               const std::string& hour,
                               Readings& out) {
  if (!is_at(text, minutes + 2, U':')) return;
  const auto part = [&](size_t at) {
    return starts_with(text, at, U"00") ? "zero" : sixtieth(text, at, false);
  };
  const std::string minute = part(minutes), second = part(minutes + 3);
  if (minute.empty() || second.empty()) return;
  const Reading time{minutes + 5,
                     {},
                     counted(hour, "hour") + " " + counted(minute, "minute") + " and " +
                         counted(second, "second")};
  add_zones(text, time, out);
  add_halves(text, time, out);
}

void add_minutes(std::u32string_view text, size_t at, const std::string& hour, Readings& out) {
  const size_t minutes = at + 1;
  const bool is_whole = starts_with(text, minutes, U"00");
  const std::string minute = sixtieth(text, minutes, true);
  if (is_at(text, at, U':')) add_hours_minutes_seconds(text, minutes, hour, out);
  if (!is_whole && minute.empty()) return;
  const Reading time{minutes + 2, {}, is_whole ? hour : hour + " " + minute};
  if (is_at(text, at, U':'))
    add_zones(text, is_whole ? Reading{time.end, {}, hour + " o'clock"} : time, out);
  add_halves(text, time, out);
}

}  // namespace

Readings english_times(std::u32string_view text, size_t at) {
  Readings out;
  const size_t digits = count_digits(text, at, 2);
  for (size_t count = 1; count <= digits; ++count) {
    const std::u32string_view written = text.substr(at, count);
    const size_t hour =
        count == 1 ? written[0] - U'0' : (written[0] - U'0') * 10 + (written[1] - U'0');
    if (hour > 23) continue;
    const bool has_zero = count == 2 && written[0] == U'0';
    const std::string spoken = english_integer(has_zero ? written.substr(1) : written);
    add_halves(text, {at + count, {}, spoken}, out);
    if (is_at(text, at + count, U':') || is_at(text, at + count, U'.'))
      add_minutes(text, at + count, spoken, out);
  }
  return out;
}

}  // namespace quern::spoken
