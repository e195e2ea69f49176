// SPDX-License-Identifier: Apache-2.0
// Products with a power, as GLM-TTS's text front end reads them before all other numbers.
#include <array>
#include <charconv>
#include <optional>

#include "text/jinja/python_text.h"
#include "text/spoken/chinese_numbers.h"
#include "text/spoken/readings.h"

namespace quern::spoken {
namespace {

// A run of digits longer than this is no factor.
constexpr size_t kLongestFactor = 32;

struct Factor {
  std::string digits;  // "-3.5"
  size_t end = 0;
};

size_t digits_end(std::u32string_view text, size_t at) {
  size_t end = at;
  while (end < text.size() && end - at < kLongestFactor && chinese_digit(text[end]) >= 0) ++end;
  return end;
}

std::optional<Factor> factor_at(std::u32string_view text, size_t at, bool takes_sign) {
  Factor out;
  if (takes_sign && is_at(text, at, U'-')) {
    out.digits = "-";
    ++at;
  }
  size_t end = digits_end(text, at);
  if (end == at) return std::nullopt;
  if (is_at(text, end, U'.') && digits_end(text, end + 1) > end + 1)
    end = digits_end(text, end + 1);
  for (size_t i = at; i < end; ++i)
    out.digits += text[i] == U'.' ? '.' : static_cast<char>('0' + chinese_digit(text[i]));
  out.end = end;
  return out;
}

// An integer with the units of the reference, which have no zeros behind 万 and 亿 and stop there.
std::string say_integer(std::string_view digits) {
  constexpr std::array<std::string_view, 12> kUnits = {
      "", "十", "百", "千", "万", "十万", "百万", "千万", "亿", "十亿", "百亿", "千亿"};
  std::string out;
  std::string_view last_unit;
  bool is_after_zero = false;
  for (size_t place = 0; place < digits.size(); ++place) {
    const int digit = digits[digits.size() - 1 - place] - '0';
    const std::string_view unit = place < kUnits.size() ? kUnits[place] : std::string_view();
    if (digit != 0) {
      out = std::string(chinese_digit_name(digit)) + std::string(unit) + out;
      is_after_zero = false;
      last_unit = unit;
    } else if (!is_after_zero && !out.empty() && last_unit != "万" && last_unit != "亿") {
      out = "零" + out;
      is_after_zero = true;
    }
  }
  if (out.empty()) return "零";
  return out.starts_with("一十") ? out.substr(std::string_view("一").size()) : out;
}

// A number as Python prints the float of it; nullopt where the reference fails, as it cannot read
// exponents.
std::optional<std::string> say_factor(const std::string& written) {
  double value = 0;
  std::from_chars(written.data(), written.data() + written.size(), value);
  const double size = value < 0 ? -value : value;
  if (size >= 1e16 || (size != 0 && size < 1e-4)) return std::nullopt;
  std::array<char, 64> buffer;
  const auto end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), size, std::chars_format::fixed);
  const std::string_view printed(buffer.data(), static_cast<size_t>(end.ptr - buffer.data()));
  const size_t point = printed.find('.');
  const std::string_view whole = printed.substr(0, point);
  const bool is_zero = whole == "0";
  std::string out = value < 0 && !is_zero ? "负" : "";
  out += is_zero ? "零" : say_integer(whole);
  if (point == std::string_view::npos) return out;
  out += "点";
  for (const char c : printed.substr(point + 1)) out += chinese_digit_name(c - '0');
  return out;
}

}  // namespace

std::u32string spell_scientific_notation(std::u32string_view text) {
  for (size_t at = 0; at < text.size(); ++at) {
    const auto base = factor_at(text, at, true);
    if (!base || base->end >= text.size()) continue;
    const char32_t sign = text[base->end];
    if (sign != U'*' && sign != U'x' && sign != U'×') continue;
    const auto ten = factor_at(text, base->end + 1, false);
    if (!ten || !is_at(text, ten->end, U'^')) continue;
    const auto power = factor_at(text, ten->end + 1, true);
    if (!power) continue;
    const auto spoken_base = say_factor(base->digits), spoken_ten = say_factor(ten->digits),
               spoken_power = say_factor(power->digits);
    if (!spoken_base || !spoken_ten || !spoken_power) break;
    return std::u32string(text.substr(0, at)) +
           jinja::decode_utf8(*spoken_base + "乘" + *spoken_ten + "的" + *spoken_power + "次方") +
           std::u32string(text.substr(power->end));
  }
  return std::u32string(text);
}

}  // namespace quern::spoken
