// SPDX-License-Identifier: Apache-2.0
// Signs and digits as words; the names are those of GLM-TTS's text front end.
#include "text/spoken/symbols.h"

#include <array>
#include <vector>

#include "text/jinja/python_text.h"
#include "text/spoken/english_numbers.h"
#include "text/spoken/word_table.h"

namespace quern::spoken {
namespace {

constexpr std::string_view kNames =
    "†=，|²=平方|³=立方|/=每|~=到|～=到|①=一|②=二|③=三|④=四|⑤=五|⑥=六|⑦=七|⑧=八|⑨=九|"
    "⑩=十|α=阿尔法|β=贝塔|γ=伽玛|Γ=伽玛|δ=德尔塔|Δ=德尔塔|△=德尔塔|ε=艾普西龙|ζ=捷塔|"
    "η=依塔|θ=西塔|Θ=西塔|ι=艾欧塔|κ=喀帕|λ=拉姆达|Λ=拉姆达|μ=缪|ν=拗|ξ=克西|Ξ=克西|"
    "ο=欧米克伦|π=派|Π=派|ρ=肉|ς=西格玛|Σ=西格玛|σ=西格玛|τ=套|υ=宇普西龙|φ=服艾|"
    "Φ=服艾|χ=器|ψ=普赛|Ψ=普赛|ω=欧米伽|Ω=欧米伽|□=方框|>=大于|<=小于|∈=属于|"
    "∉=不属于|∪=并|∩=交|⊥=垂直|∥=平行|≠=不等于|∵=因为|∴=所以|∅=空集|⊂=真包含于|"
    "⊃=包含|⊆=包含于|⊇=真包含|⊄=不属于|⊅=非超集|⊈=不属于|⊉=非超集";

// 0 to 9 of a digit of any script. Unicode lays the ten of a script out in a row.
char32_t value_of(char32_t c) {
  constexpr char32_t kLongestRow = 60;  // five styles of mathematical digits
  char32_t first = c;
  while (c - first < kLongestRow && jinja::is_decimal(first - 1)) --first;
  return (c - first) % 10;
}

constexpr std::array<std::u32string_view, 12> kThousandGroups = {U"",
                                                         U" thousand",
                                                         U" million",
                                                         U" billion",
                                                         U" trillion",
                                                         U" quadrillion",
                                                         U" quintillion",
                                                         U" sextillion",
                                                         U" septillion",
                                                         U" octillion",
                                                         U" nonillion",
                                                         U" decillion"};

// One to three digits, "one hundred and twentythree": the hyphen goes with the other signs.
std::u32string say_group(std::u32string_view digits) {
  const std::string number = with_and(english_integer(digits));
  std::u32string out = jinja::decode_utf8(number);
  const size_t tens = out.find(U"ty ");
  if (tens != std::u32string::npos) out.erase(tens + 2, 1);
  return out;
}

// The number of these digits, a comma between its groups of three.
std::u32string say_number(std::u32string digits) {
  digits.erase(0, digits.find_first_not_of(U'0'));
  if (digits.empty()) return U"zero";
  if (digits.size() > 3 * kThousandGroups.size()) return U"";
  std::u32string out;
  size_t at = 0;
  for (size_t left = digits.size(); left > 0;) {
    const size_t count = (left - 1) % 3 + 1;
    std::u32string_view group = std::u32string_view(digits).substr(at, count);
    at += count;
    left -= count;
    while (!group.empty() && group[0] == U'0') group.remove_prefix(1);
    if (group.empty()) continue;
    if (!out.empty()) out += left == 0 && group.size() < 3 ? U" and " : U", ";
    out += say_group(group);
    out += kThousandGroups[left / 3];
  }
  return out;
}

}  // namespace

std::u32string say_symbols_in_chinese(std::u32string_view text) {
  static const WordTable names(kNames);
  std::u32string out;
  for (size_t at = 0; at < text.size(); ++at) {
    const std::vector<WordTable::Match> matches = names.at(text, at);
    if (matches.empty())
      out += text[at];
    else
      out += jinja::decode_utf8(matches[0].spoken);
  }
  return out;
}

std::u32string spell_left_digits(std::u32string_view text) {
  std::u32string out;
  for (size_t at = 0; at < text.size();) {
    if (!jinja::is_digit(text[at])) {
      out += text[at++];
      continue;
    }
    std::u32string digits;
    for (; at < text.size() && jinja::is_digit(text[at]); ++at)
      if (jinja::is_decimal(text[at])) digits += U'0' + value_of(text[at]);
    out += say_number(std::move(digits));
  }
  return out;
}

}  // namespace quern::spoken
