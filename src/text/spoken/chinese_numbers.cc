// SPDX-License-Identifier: Apache-2.0
// Numbers as Chinese reads them aloud; the rules follow WeTextProcessing 1.0.3 (its grammar of
// cardinal numbers), with what is odd in them: at most eight digits, and 两 wherever 二 stands
// before 百, 千 or 万.
#include "text/spoken/chinese_numbers.h"

#include <array>
#include <span>

#include "text/spoken/readings.h"

namespace quern::spoken {
namespace {

constexpr std::array<std::string_view, 10> kDigits = {
    "零", "一", "二", "三", "四", "五", "六", "七", "八", "九"};

using Digits = std::span<const int>;

std::string name(int digit) {
  return std::string(kDigits[static_cast<size_t>(digit)]);
}

// "10" in a larger number is 一十, alone 十.
std::string tens(Digits d, bool is_alone) {
  std::string out = is_alone && d[0] == 1 ? "" : name(d[0]);
  out += "十";
  return d[1] == 0 ? out : out + name(d[1]);
}

std::string hundreds(Digits d) {
  std::string out = name(d[0]) + "百";
  if (d[1] != 0) return out + tens(d.subspan(1), false);
  return d[2] == 0 ? out : out + "零" + name(d[2]);
}

// The last two or three digits after a zero that is read once.
std::string after_zero(Digits d) {
  size_t zeros = 0;
  while (zeros < d.size() && d[zeros] == 0) ++zeros;
  const Digits rest = d.subspan(zeros);
  if (rest.empty()) return "";
  if (rest.size() == 3) return "零" + hundreds(rest);
  if (rest.size() == 2) return "零" + tens(rest, false);
  return "零" + name(rest[0]);
}

std::string thousands(Digits d) {
  const std::string out = name(d[0]) + "千";
  return d[1] != 0 ? out + hundreds(d.subspan(1)) : out + after_zero(d.subspan(1));
}

// One to four digits, the first not 0 (but a single 0).
std::string up_to_four(Digits d) {
  switch (d.size()) {
    case 1:
      return name(d[0]);
    case 2:
      return tens(d, true);
    case 3:
      return hundreds(d);
    default:
      return thousands(d);
  }
}

std::string integer(Digits d) {
  if (d.size() <= 4) return up_to_four(d);
  const Digits tail = d.subspan(d.size() - 4);
  const std::string out = up_to_four(d.first(d.size() - 4)) + "万";
  return tail[0] != 0 ? out + thousands(tail) : out + after_zero(tail);
}

// An integer of `count` digits at text[at], with its commas, and whether it is well formed.
struct Scanned {
  std::array<int, 8> digits = {};
  size_t count = 0, end = 0;
  bool has_comma_before_last_three = false, is_well_formed = true;
};

Scanned scan(std::u32string_view text, size_t at, size_t count) {
  Scanned out;
  out.end = at;
  while (out.count < count) {
    const size_t left = count - out.count;
    if (out.count > 0 && is_at(text, out.end, U',')) {
      out.is_well_formed = out.is_well_formed && (left == 3 || left == 7);
      out.has_comma_before_last_three = out.has_comma_before_last_three || left == 3;
      ++out.end;
    }
    const int digit = out.end < text.size() ? chinese_digit(text[out.end]) : -1;
    if (digit < 0) break;
    out.digits[out.count++] = digit;
    ++out.end;
  }
  const Digits d(out.digits.data(), out.count);
  if (out.count < count || (count > 1 && d[0] == 0)) out.is_well_formed = false;
  if (out.is_well_formed && count > 4 && out.has_comma_before_last_three) {
    bool is_round = true;  // 10,0000 but not 10,000: the reference knows no comma in 0000
    for (const int digit : d.subspan(count - 4)) is_round = is_round && digit == 0;
    out.is_well_formed = !is_round;
  }
  return out;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

void say_pair(std::string& number) {
  replace_all(number, "二百", "两百");
  replace_all(number, "二千", "两千");
  replace_all(number, "二万", "两万");
}

// Adds the number `spoken` that ends at `end`, and its percentage if a percent sign follows.
void add_number(std::u32string_view text,
                std::string_view prefix,
                ChineseNumber number,
                std::vector<ChineseNumber>& out) {
  say_pair(number.spoken);
  const std::string bare = number.spoken;
  number.spoken = std::string(prefix) + bare;
  out.push_back(number);
  if (is_at(text, number.end, U'%'))
    out.push_back({number.end + 1, std::string(prefix) + "百分之" + bare, true});
}

}  // namespace

int chinese_digit(char32_t c) {
  if (is_ascii_digit(c)) return static_cast<int>(c - U'0');
  if (c >= U'０' && c <= U'９') return static_cast<int>(c - U'０');
  return -1;
}

std::string_view chinese_digit_name(int digit) {
  return kDigits[static_cast<size_t>(digit)];
}

std::string chinese_digits(std::u32string_view text, size_t at, size_t count, bool is_phone) {
  std::string out;
  for (size_t i = at; i < at + count; ++i) {
    const int digit = i < text.size() ? chinese_digit(text[i]) : -1;
    if (digit < 0) return "";
    out += digit == 1 && is_phone ? "幺" : kDigits[static_cast<size_t>(digit)];
  }
  return out;
}

std::string chinese_small_number(int value) {
  const std::array<int, 2> digits = {value / 10, value % 10};
  return up_to_four(Digits(digits).subspan(value < 10 ? 1 : 0));
}

std::vector<ChineseNumber> chinese_numbers(std::u32string_view text, size_t at, bool takes_prefix) {
  std::vector<ChineseNumber> out;
  std::string prefix, sign;
  const auto take = [&](std::u32string_view from, std::string_view spoken, std::string& into) {
    if (!starts_with(text, at, from)) return;
    at += from.size();
    into += spoken;
  };
  if (takes_prefix) {
    take(U"约", "约", prefix);
    take(U"人均", "人均", prefix);
  }
  if (is_at(text, at, U'+'))
    take(U"+", "正", sign);
  else if (is_at(text, at, U'±'))
    take(U"±", "正负", sign);
  else
    take(U"-", "负", sign);
  for (size_t count = 1; count <= 8; ++count) {
    const Scanned whole = scan(text, at, count);
    if (whole.count < count) break;
    if (!whole.is_well_formed) continue;
    std::string spoken = sign + integer(Digits(whole.digits.data(), count));
    add_number(text, prefix, {whole.end, spoken}, out);
    if (!is_at(text, whole.end, U'.')) continue;
    spoken += "点";
    for (size_t end = whole.end + 1; end < text.size() && end - whole.end <= kLongestRun; ++end) {
      const int digit = chinese_digit(text[end]);
      if (digit < 0) break;
      spoken += kDigits[static_cast<size_t>(digit)];
      add_number(text, prefix, {end + 1, spoken}, out);
    }
  }
  return out;
}

}  // namespace quern::spoken
