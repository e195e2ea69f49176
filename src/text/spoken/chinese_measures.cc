// SPDX-License-Identifier: Apache-2.0
// Numbers with units in Chinese text, by the rules of WeTextProcessing 1.0.3.
#include "text/spoken/chinese_measures.h"

#include <array>

#include "text/spoken/chinese_numbers.h"
#include "text/spoken/chinese_words.h"

namespace quern::spoken {
namespace {

constexpr Cost kMeasure = weight(1.05);
constexpr std::string_view kTo = "到";

struct Unit {
  size_t end = 0;
  Cost cost;
  std::string spoken;
};

// The units at text[at], also behind one space, also with k (千) or w (万) before them.
std::vector<Unit> units_at(std::u32string_view text, size_t at) {
  std::vector<Unit> out;
  const auto add = [&](size_t from, Cost cost, std::string_view before) {
    for (const WordTable::Match& unit : chinese_units().at(text, from))
      out.push_back({unit.end, cost, std::string(before) + std::string(unit.spoken)});
  };
  for (size_t from = at; from <= at + 1; ++from) {
    add(from, {}, "");
    if (is_at(text, from, U'k')) add(from + 1, weight(0.1), "千");
    if (is_at(text, from, U'w')) add(from + 1, weight(0.1), "万");
    if (!is_at(text, at, U' ')) break;
  }
  return out;
}

bool is_to(std::u32string_view text, size_t at) {
  return is_at(text, at, U'-') || is_at(text, at, U'~') || is_at(text, at, U'到');
}

// A 2 before a unit is 两.
std::string counted(const ChineseNumber& number) {
  return number.spoken == "二" ? "两" : number.spoken;
}

// But the second of a month, the number two and two liang are 二.
std::string say_pairs_plainly(std::string measure) {
  constexpr std::array<std::string_view, 3> kPlain = {"两", "月", "号"};
  for (const std::string_view unit : kPlain) {
    const std::string pair = "两" + std::string(unit);
    const std::string plain = "二" + std::string(unit);
    if (measure.starts_with(pair)) measure.replace(0, pair.size(), plain);
    const std::string last = std::string(kTo) + pair;
    if (measure.ends_with(last)) measure.replace(measure.size() - pair.size(), pair.size(), plain);
  }
  return measure;
}

// Number and unit, after `before` (a number, maybe a unit, and 到).
void add_simple(std::u32string_view text, size_t at, const Unit& before, std::vector<Unit>& out) {
  for (const ChineseNumber& number : chinese_numbers(text, at, true))
    for (const Unit& unit : units_at(text, number.end))
      out.push_back({unit.end,
                     before.cost + unit.cost,
                     say_pairs_plainly(before.spoken + counted(number) + unit.spoken)});
}

std::vector<Unit> measures_at(std::u32string_view text, size_t at) {
  std::vector<Unit> out;
  add_simple(text, at, {}, out);
  for (const ChineseNumber& number : chinese_numbers(text, at, true)) {
    const auto continue_with = [&](size_t end, Cost cost, std::string_view unit) {
      if (is_to(text, end))
        add_simple(
            text, end + 1, {0, cost, counted(number) + std::string(unit) + std::string(kTo)}, out);
    };
    continue_with(number.end, {}, "");
    for (const Unit& unit : units_at(text, number.end))
      continue_with(unit.end, unit.cost, unit.spoken);
  }
  return out;
}

// Years and seasons are read digit by digit: 90年, 2020-2021赛季.
void add_annual(std::u32string_view text, size_t at, Readings& out) {
  constexpr std::array<std::pair<std::u32string_view, std::string_view>, 3> kAnnual = {
      {{U"年", "年"}, {U"年度", "年度"}, {U"赛季", "赛季"}}};
  const auto each_unit = [&](size_t from, const auto& body) {
    for (const auto& [written, spoken] : kAnnual)
      if (starts_with(text, from, written)) body(from + written.size(), std::string(spoken));
  };
  const auto each_year = [&](size_t from, const auto& body) {
    for (const size_t count : {size_t{2}, size_t{4}}) {
      const std::string year = chinese_digits(text, from, count, false);
      if (!year.empty()) body(from + count, year);
    }
  };
  const auto add_last = [&](size_t from, const std::string& before) {
    each_year(from, [&](size_t end, const std::string& year) {
      each_unit(end, [&](size_t last, const std::string& unit) {
        out.push_back({last, kMeasure, before + year + unit});
      });
    });
  };
  add_last(at, "");
  each_year(at, [&](size_t end, const std::string& year) {
    if (is_to(text, end)) add_last(end + 1, year + std::string(kTo));
    const size_t from = is_at(text, end, U' ') ? end + 1 : end;
    each_unit(from, [&](size_t last, const std::string& unit) {
      if (is_to(text, last)) add_last(last + 1, year + unit + std::string(kTo));
    });
  });
}

}  // namespace

void add_chinese_measures(std::u32string_view text, size_t at, Readings& out) {
  for (const Unit& measure : measures_at(text, at)) {
    out.push_back({measure.end, kMeasure + measure.cost, measure.spoken});
    const size_t slash = is_at(text, measure.end, U' ') ? measure.end + 1 : measure.end;
    if (!is_at(text, slash, U'/')) continue;
    for (const Unit& unit : units_at(text, slash + 1))
      out.push_back(
          {unit.end, kMeasure + measure.cost + unit.cost, "每" + unit.spoken + measure.spoken});
  }
  add_annual(text, at, out);
}

}  // namespace quern::spoken
