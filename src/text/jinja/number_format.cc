// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/number_format.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "base/error.h"
#include "text/jinja/budget.h"
#include "text/jinja/python_text.h"
#include "text/jinja/repr.h"

namespace quern::jinja {
namespace {

using namespace std::string_view_literals;

constexpr Int kMaxPrecision = 400;

std::string padded(std::string_view sign,
                   std::string_view body,
                   const FieldSpec& spec,
                   char default_align) {
  require_modest(spec.width);
  const size_t size = char_count(sign) + char_count(body),
               width = static_cast<size_t>(std::max<Int>(spec.width, 0));
  if (size >= width) return std::string(sign) + std::string(body);
  Budget::charge_bytes(width * spec.fill.size());
  const auto fill = [&](size_t count) {
    std::string out;
    for (size_t i = 0; i < count; ++i) out += spec.fill;
    return out;
  };
  const size_t space = width - size;
  const std::string text = std::string(sign) + std::string(body);
  switch (spec.align ? spec.align : default_align) {
    case '<':
      return text + fill(space);
    case '^':
      return fill(space / 2) + text + fill(space - space / 2);
    case '=':
      return std::string(sign) + fill(space) + std::string(body);
    default:
      return fill(space) + text;
  }
}

void group_digits(std::string& digits, char separator, size_t group) {
  size_t whole = 0;
  while (whole < digits.size() && std::isxdigit(static_cast<unsigned char>(digits[whole]))) ++whole;
  while (whole > group) digits.insert(whole -= group, 1, separator);
}

std::string integer_digits(Int magnitude_of, const FieldSpec& spec) {
  const auto magnitude = magnitude_of < 0 ? -static_cast<unsigned __int128>(magnitude_of)
                                          : static_cast<unsigned __int128>(magnitude_of);
  switch (spec.type) {
    case 'x':
      return format("{:x}", magnitude);
    case 'X':
      return format("{:X}", magnitude);
    case 'o':
      return format("{:o}", magnitude);
    case 'b':
      return format("{:b}", magnitude);
    default:
      return format("{}", magnitude);
  }
}

std::string format_integer_field(Int value, const FieldSpec& spec) {
  std::string digits = integer_digits(value, spec);
  if (spec.precision > static_cast<Int>(digits.size())) {  // printf-style only: a minimum of digits
    digits.insert(0, static_cast<size_t>(spec.precision) - digits.size(), '0');
  }
  if (spec.grouping)
    group_digits(
        digits, spec.grouping, spec.type == 'x' || spec.type == 'X' || spec.type == 'b' ? 4 : 3);
  std::string sign = value < 0 ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  if (spec.is_alternate && spec.type && spec.type != 'd') sign += std::string("0") + spec.type;
  return padded(sign, digits, spec, '>');
}

std::string real_digits(double magnitude, const FieldSpec& spec) {
  if (!spec.type && spec.precision < 0) return format_real(magnitude);
  const char type = !spec.type || spec.type == 'n' ? 'g' : spec.type == '%' ? 'f' : spec.type;
  std::array<char, 8> pattern{};
  std::snprintf(pattern.data(), pattern.size(), spec.is_alternate ? "%%#.*%c" : "%%.*%c", type);
  const int precision = spec.precision < 0 ? 6 : static_cast<int>(spec.precision);
  std::string out(static_cast<size_t>(precision) + 330, '\0');
  out.resize(static_cast<size_t>(
      std::snprintf(out.data(), out.size(), pattern.data(), precision, magnitude)));
  // Without a type letter a number keeps at least one decimal: "1e+16" and "3.0", never "3".
  if (!spec.type && std::isfinite(magnitude) && out.find_first_of(".e") == std::string::npos)
    out += ".0";
  return out;
}

std::string format_real_field(double value, const FieldSpec& spec) {
  const double scaled = spec.type == '%' ? value * 100 : value;
  std::string digits = real_digits(std::fabs(scaled), spec);
  if (spec.grouping) group_digits(digits, spec.grouping, 3);
  if (spec.type == '%') digits += '%';
  const std::string sign = std::signbit(value) && !std::isnan(value) ? "-"
                           : spec.sign == '-'                        ? ""
                                                                     : std::string(1, spec.sign);
  return padded(sign, digits, spec, '>');
}

}  // namespace

void require_modest(Int width_or_precision) {
  constexpr Int kMost = Int{1} << 31;
  Budget::charge_bytes(static_cast<size_t>(std::clamp<Int>(width_or_precision, 0, kMost)));
}

std::string format_text_field(std::string_view text, const FieldSpec& spec) {
  if (spec.precision < 0 || spec.precision >= static_cast<Int>(char_count(text)))
    return padded("", text, spec, '<');
  const std::u32string points = decode_utf8(text);
  return padded(
      "",
      encode_utf8(std::u32string_view(points).substr(0, static_cast<size_t>(spec.precision))),
      spec,
      '<');
}

std::string format_field(const Value& v, const FieldSpec& spec) {
  constexpr std::string_view kIntegerTypes = "bdoxXn", kRealTypes = "eEfFgG%";
  if (v.is_string() && (!spec.type || spec.type == 's'))
    return format_text_field(v.as_string(), spec);
  if (spec.precision > kMaxPrecision) {
    fail(ErrorCode::invalid_argument,
         "a precision of more than {} digits",
         static_cast<int64_t>(kMaxPrecision));
  }
  const bool is_integer =
      v.is_integral() && (!spec.type || kIntegerTypes.find(spec.type) != std::string_view::npos);
  if (is_integer) return format_integer_field(v.as_integer(), spec);
  if (v.is_integral() && spec.type == 'c') {
    const Int c = v.as_integer();
    if (c < 0 || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) {
      fail(ErrorCode::invalid_argument, "%c: {} is no character", c);
    }
    return format_text_field(encode_utf8(std::u32string(1, static_cast<char32_t>(c))), spec);
  }
  if (v.is_number() &&
      (!spec.type || spec.type == 'n' || kRealTypes.find(spec.type) != std::string_view::npos)) {
    return format_real_field(v.as_real(), spec);
  }
  fail(ErrorCode::invalid_argument,
       "format code '{}' does not suit a value of type '{}'",
       spec.type ? std::string(1, spec.type) : "",
       v.type_name());
}

FieldSpec parse_field_spec(std::string_view text) {
  FieldSpec spec;
  const std::u32string points = decode_utf8(text);
  size_t at = 0;
  const auto is_align = [&](size_t i) {
    return i < points.size() && U"<>^="sv.find(points[i]) != std::u32string_view::npos;
  };
  const auto next_is = [&](char32_t c) {
    return at < points.size() && points[at] == c && ++at > 0;
  };
  const auto number = [&] {
    Int n = 0;
    for (; at < points.size() && points[at] >= '0' && points[at] <= '9'; ++at) {
      n = std::min<Int>(n * 10 + static_cast<Int>(points[at] - '0'), Int{1} << 40);
    }
    return n;
  };
  if (is_align(1)) {
    spec.fill = encode_utf8(points.substr(0, 1));
    spec.align = static_cast<char>(points[1]);
    at = 2;
  } else if (is_align(0)) {
    spec.align = static_cast<char>(points[at++]);
  }
  if (next_is('+'))
    spec.sign = '+';
  else if (next_is(' '))
    spec.sign = ' ';
  else
    next_is('-');
  spec.is_alternate = next_is('#');
  if (next_is('0') && !spec.align) spec.fill = '0', spec.align = '=';
  spec.width = number();
  if (next_is(','))
    spec.grouping = ',';
  else if (next_is('_'))
    spec.grouping = '_';
  if (next_is('.')) spec.precision = number();
  if (at < points.size() && points[at] < 0x80) spec.type = static_cast<char>(points[at++]);
  if (at != points.size()) fail(ErrorCode::invalid_argument, "invalid format specifier '{}'", text);
  return spec;
}

double round_to(double value, Int digits) {
  if (!std::isfinite(value) || digits > 330) return value;
  if (digits < 0) {
    if (digits < -330) return std::copysign(0.0, value);
    const long double unit = powl(10.0L, static_cast<long double>(-digits));
    return static_cast<double>(std::nearbyint(static_cast<long double>(value) / unit) * unit);
  }
  std::array<char, 700> buffer;
  std::snprintf(buffer.data(), buffer.size(), "%.*f", static_cast<int>(digits), value);
  return std::strtod(buffer.data(), nullptr);
}

}  // namespace quern::jinja
