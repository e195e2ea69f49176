// SPDX-License-Identifier: Apache-2.0
// Filters on numbers.
#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "text/jinja/filters.h"
#include "text/jinja/number_format.h"
#include "text/jinja/operators.h"
#include "text/jinja/repr.h"
#include "text/jinja/string_literal.h"

namespace quern::jinja {
namespace {

std::optional<Int> truncated(double value) {
  if (!std::isfinite(value)) return std::nullopt;
  if (std::fabs(value) > 1e38)
    fail(ErrorCode::invalid_argument, "an integer needs more than 128 bits");
  return static_cast<Int>(value);
}

Value to_int(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("int", a, {"default", "base"});
  const Value otherwise = bound[0] ? *bound[0] : Value::integer(0);
  require_defined(v);
  std::optional<Int> found;
  if (v.is_integral()) {
    found = v.as_integer();
  } else if (v.is(Value::Kind::real)) {
    found = truncated(v.as_real());
  } else if (v.is_string()) {
    found = parse_python_int(v.as_string(),
                             static_cast<int>(std::clamp<Int>(bound.integer(1, 10), -1, 99)));
    const auto real = found ? std::nullopt : parse_python_float(v.as_string());
    if (real) found = truncated(*real);
  }
  return found ? Value::integer(*found) : otherwise;
}

Value to_float(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("float", a, {"default"});
  require_defined(v);
  if (v.is_number()) return Value::real(v.as_real());
  const auto found = v.is_string() ? parse_python_float(v.as_string()) : std::nullopt;
  if (found) return Value::real(*found);
  return bound[0] ? *bound[0] : Value::real(0.0);
}

Value absolute(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("abs", a, {});
  require_defined(v);
  if (v.is(Value::Kind::real)) return Value::real(std::fabs(v.as_real()));
  if (!v.is_integral())
    fail(ErrorCode::invalid_argument, "bad operand type for abs(): '{}'", v.type_name());
  return v.as_integer() < 0 ? negate(v) : Value::integer(v.as_integer());
}

// round(integer, -n): to a multiple of 10**n, halves to even.
Value round_integer(Int value, Int digits) {
  if (digits >= 0) return Value::integer(value);
  if (digits < -37) return Value::integer(0);
  const Int unit = power(Value::integer(10), Value::integer(-digits)).as_integer();
  const Value rest = modulo(Value::integer(value), Value::integer(unit));
  const Int low = value - rest.as_integer(), doubled = rest.as_integer() > unit / 2    ? 1
                                                       : rest.as_integer() * 2 == unit ? 0
                                                                                       : -1;
  const bool is_up = doubled > 0 || (doubled == 0 && (low / unit) % 2 != 0);
  return is_up ? add(Value::integer(low), Value::integer(unit)) : Value::integer(low);
}

Value round_filter(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("round", a, {"precision", "method"});
  const std::string method = bound.text(1, "common");
  const Int digits = bound.integer(0, 0);
  if (method != "common" && method != "ceil" && method != "floor") {
    fail(ErrorCode::invalid_argument, "round: the method must be common, ceil or floor");
  }
  require_defined(v);
  if (!v.is_number())
    fail(ErrorCode::invalid_argument, "round: expected a number, got {}", v.type_name());
  if (method == "common") {
    return v.is_integral() ? round_integer(v.as_integer(), digits)
                           : Value::real(round_to(v.as_real(), digits));
  }
  const Value unit = power(Value::integer(10), Value::integer(digits));
  const double scaled = multiply(v, unit).as_real();
  const auto whole = truncated(method == "ceil" ? std::ceil(scaled) : std::floor(scaled));
  if (!whole)
    fail(ErrorCode::invalid_argument, "round: {} has no integer part", format_real(scaled));
  return divide(Value::integer(*whole), unit);
}

Value file_size(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("filesizeformat", a, {"binary"});
  const bool is_binary = bound.flag(0, false);
  const auto parsed = v.is_string() ? parse_python_float(v.as_string()) : std::optional<double>();
  if (!v.is_number() && !parsed)
    fail(ErrorCode::invalid_argument, "filesizeformat: expected a number");
  const double bytes = parsed ? *parsed : v.as_real(), base = is_binary ? 1024 : 1000;
  if (bytes == 1) return Value::string("1 Byte");
  if (bytes < base)
    return Value::string(format("{} Bytes", static_cast<int64_t>(std::max(bytes, -1e18))));
  constexpr std::string_view kPrefixes = "kMGTPEZY";
  double unit = base;
  size_t i = 0;
  while (i + 1 < kPrefixes.size() && bytes >= unit * base) unit *= base, ++i;
  const std::string letter(1, is_binary && i == 0 ? 'K' : kPrefixes[i]);
  return Value::string(format("{:.1f} {}{}", bytes / unit, letter, is_binary ? "iB" : "B"));
}

constexpr std::array kFilters = std::to_array<FilterEntry>({
    {"int", to_int},
    {"float", to_float},
    {"abs", absolute},
    {"round", round_filter},
    {"filesizeformat", file_size},
});

}  // namespace

std::span<const FilterEntry> number_filters() {
  return kFilters;
}

}  // namespace quern::jinja
