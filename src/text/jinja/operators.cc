// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "text/jinja/budget.h"
#include "text/jinja/html.h"
#include "text/jinja/object.h"
#include "text/jinja/objects.h"
#include "text/jinja/percent_format.h"
#include "text/jinja/python_text.h"

namespace quern::jinja {
namespace {

[[noreturn]] void fail_operands(std::string_view op, const Value& a, const Value& b) {
  fail(ErrorCode::invalid_argument,
       "unsupported operand type(s) for {}: '{}' and '{}'",
       op,
       a.type_name(),
       b.type_name());
}

// By reference: the callers compute `result` while the arguments are evaluated.
Value checked(bool has_overflowed, const Int& result) {
  if (has_overflowed) fail(ErrorCode::invalid_argument, "an integer needs more than 128 bits");
  return Value::integer(result);
}

void require_numbers(std::string_view op, const Value& a, const Value& b) {
  require_defined(a);
  require_defined(b);
  if (!a.is_number() || !b.is_number()) fail_operands(op, a, b);
}

bool are_integral(const Value& a, const Value& b) {
  return a.is_integral() && b.is_integral();
}

void require_nonzero(const Value& divisor) {
  if (divisor.as_real() == 0) fail(ErrorCode::invalid_argument, "division by zero");
}

Value joined_text(const Value& a, const Value& b) {
  const bool is_markup = a.is_markup() || b.is_markup();
  const auto part = [&](const Value& v) {
    return is_markup && !v.is_markup() ? escape_html(v.as_string()) : v.as_string();
  };
  Budget::charge_bytes(a.as_string().size() + b.as_string().size());
  return Value::string(part(a) + part(b), is_markup);
}

std::vector<Value> joined_items(const Value& a, const Value& b) {
  Budget::charge(static_cast<int64_t>(a.items().size() + b.items().size()));
  std::vector<Value> items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  return items;
}

Value repeated(const Value& v, Int times) {
  times = std::max<Int>(times, 0);
  const size_t size = v.is_string() ? v.as_string().size() : v.items().size();
  // The product of a size and a clamped count cannot overflow, and is refused long before it
  // matters.
  const size_t count = static_cast<size_t>(std::min<Int>(times, Int{1} << 31));
  const size_t total = size == 0 ? 0 : std::min(size, size_t{1} << 31) * count;
  if (v.is_string()) {
    Budget::charge_bytes(total);
    std::string out;
    out.reserve(total);
    for (size_t i = 0; i < count && size > 0; ++i) out += v.as_string();
    return Value::string(std::move(out), v.is_markup());
  }
  Budget::charge(static_cast<int64_t>(total));
  std::vector<Value> items;
  items.reserve(total);
  for (size_t i = 0; i < count && size > 0; ++i)
    items.insert(items.end(), v.items().begin(), v.items().end());
  return v.is(Value::Kind::list) ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

Value integer_power(Int base, Int exponent) {
  Int result = 1;
  bool has_overflowed = false;
  while (exponent > 0 && !has_overflowed) {
    if (exponent & 1) has_overflowed = __builtin_mul_overflow(result, base, &result);
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) has_overflowed = true;
  }
  return checked(has_overflowed, result);
}

bool are_items_equal(const std::vector<Value>& a, const std::vector<Value>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), equals);
}

bool are_dicts_equal(const Dict& a, const Dict& b) {
  return a.size() == b.size() &&
         std::all_of(a.entries().begin(), a.entries().end(), [&](const Dict::Entry& e) {
           const Value* other = b.find(e.first);
           return other && equals(e.second, *other);
         });
}

bool is_sequence_less(const Value& a, const Value& b, std::string_view op) {
  const auto& x = a.items();
  const auto& y = b.items();
  for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    if (!equals(x[i], y[i])) return is_less(x[i], y[i], op);
  }
  return x.size() < y.size();
}

}  // namespace

void fail_undefined(const Value& v) {
  fail(ErrorCode::invalid_argument, "{}", v.reason());
}

void require_defined(const Value& v) {
  if (v.is_undefined()) fail_undefined(v);
}

Int require_index(const Value& v, std::string_view what) {
  require_defined(v);
  if (!v.is_integral()) {
    fail(ErrorCode::invalid_argument, "{}: expected an integer, got '{}'", what, v.type_name());
  }
  return v.as_integer();
}

bool is_true(const Value& v) {
  switch (v.kind()) {
    case Value::Kind::undefined:
    case Value::Kind::none:
      return false;
    case Value::Kind::boolean:
    case Value::Kind::integer:
      return v.as_integer() != 0;
    case Value::Kind::real:
      return v.as_real() != 0;
    case Value::Kind::string:
      return !v.as_string().empty();
    case Value::Kind::list:
    case Value::Kind::tuple:
      return !v.items().empty();
    case Value::Kind::dict:
      return v.as_dict().size() > 0;
    case Value::Kind::object:
      return v.as_object().length().value_or(1) > 0;
  }
  return false;
}

bool equals(const Value& a, const Value& b) {
  Budget::charge(1);
  if (are_integral(a, b)) return a.as_integer() == b.as_integer();
  if (a.is_number() && b.is_number()) return a.as_real() == b.as_real();
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Value::Kind::string:
      return a.as_string() == b.as_string();
    case Value::Kind::list:
    case Value::Kind::tuple:
      return a.sequence() == b.sequence() || are_items_equal(a.items(), b.items());
    case Value::Kind::dict:
      return a.dict_ref() == b.dict_ref() || are_dicts_equal(a.as_dict(), b.as_dict());
    case Value::Kind::object:
      return a.as_object().equals(b.as_object());
    default:
      return true;  // none, undefined
  }
}

bool is_less(const Value& a, const Value& b, std::string_view operator_name) {
  Budget::charge(1);
  require_defined(a);
  require_defined(b);
  if (are_integral(a, b)) return a.as_integer() < b.as_integer();
  if (a.is_number() && b.is_number()) return a.as_real() < b.as_real();
  if (a.kind() == b.kind() && a.is_string())
    return a.as_string() < b.as_string();  // UTF-8 sorts as code points do
  if (a.kind() == b.kind() && a.is_list_or_tuple()) return is_sequence_less(a, b, operator_name);
  fail(ErrorCode::invalid_argument,
       "'{}' not supported between instances of '{}' and '{}'",
       operator_name,
       a.type_name(),
       b.type_name());
}

bool is_less_or_equal(const Value& a, const Value& b) {
  return is_less(a, b, "<=") || equals(a, b);
}

bool contains(const Value& container, const Value& item) {
  switch (container.kind()) {
    case Value::Kind::string:
      if (!item.is_string()) {
        fail(ErrorCode::invalid_argument,
             "'in <string>' requires string as left operand, not {}",
             item.type_name());
      }
      Budget::charge_bytes(container.as_string().size());
      return container.as_string().find(item.as_string()) != std::string::npos;
    case Value::Kind::dict:
      return container.as_dict().find(item) != nullptr;
    case Value::Kind::undefined:
      return false;
    default:
      break;
  }
  const auto sequence = try_iterate(container);
  if (!sequence)
    fail(ErrorCode::invalid_argument,
         "argument of type '{}' is not iterable",
         container.type_name());
  return std::any_of(sequence->items.begin(), sequence->items.end(), [&](const Value& v) {
    return equals(v, item);
  });
}

Value add(const Value& a, const Value& b) {
  require_defined(a);
  require_defined(b);
  if (a.is_string() && b.is_string()) return joined_text(a, b);
  if (a.is(Value::Kind::list) && b.is(Value::Kind::list)) return Value::list(joined_items(a, b));
  if (a.is(Value::Kind::tuple) && b.is(Value::Kind::tuple)) return Value::tuple(joined_items(a, b));
  if (a.is_string() || a.is_list_or_tuple()) {
    fail(ErrorCode::invalid_argument,
         "can only concatenate {0} (not \"{1}\") to {0}",
         a.type_name(),
         b.type_name());
  }
  if (!a.is_number() || !b.is_number()) fail_operands("+", a, b);
  if (!are_integral(a, b)) return Value::real(a.as_real() + b.as_real());
  Int sum = 0;
  return checked(__builtin_add_overflow(a.as_integer(), b.as_integer(), &sum), sum);
}

Value subtract(const Value& a, const Value& b) {
  require_numbers("-", a, b);
  if (!are_integral(a, b)) return Value::real(a.as_real() - b.as_real());
  Int difference = 0;
  return checked(__builtin_sub_overflow(a.as_integer(), b.as_integer(), &difference), difference);
}

Value multiply(const Value& a, const Value& b) {
  const auto is_repeatable = [](const Value& v) { return v.is_string() || v.is_list_or_tuple(); };
  require_defined(a);
  require_defined(b);
  if (is_repeatable(a) && b.is_integral()) return repeated(a, b.as_integer());
  if (is_repeatable(b) && a.is_integral()) return repeated(b, a.as_integer());
  require_numbers("*", a, b);
  if (!are_integral(a, b)) return Value::real(a.as_real() * b.as_real());
  Int product = 0;
  return checked(__builtin_mul_overflow(a.as_integer(), b.as_integer(), &product), product);
}

Value divide(const Value& a, const Value& b) {
  require_numbers("/", a, b);
  require_nonzero(b);
  return Value::real(a.as_real() / b.as_real());
}

Value floor_divide(const Value& a, const Value& b) {
  require_numbers("//", a, b);
  require_nonzero(b);
  if (!are_integral(a, b)) {
    const double rest = modulo(a, b).as_real();
    return Value::real(std::round((a.as_real() - rest) / b.as_real()));
  }
  const Int x = a.as_integer(), y = b.as_integer();
  if (y == -1) return negate(Value::integer(x));  // the one quotient that may overflow
  return Value::integer(x / y - ((x % y != 0 && (x < 0) != (y < 0)) ? 1 : 0));
}

Value modulo(const Value& a, const Value& b) {
  require_defined(a);
  if (a.is_string()) return percent_format(a, b);
  require_numbers("%", a, b);
  require_nonzero(b);
  if (!are_integral(a, b)) {
    const double divisor = b.as_real();
    double rest = std::fmod(a.as_real(), divisor);
    if (rest != 0 && (rest < 0) != (divisor < 0)) rest += divisor;
    return Value::real(rest == 0 ? std::copysign(0.0, divisor) : rest);
  }
  const Int x = a.as_integer(), y = b.as_integer();
  if (y == -1) return Value::integer(0);
  const Int rest = x % y;
  return Value::integer(rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest);
}

Value power(const Value& a, const Value& b) {
  require_numbers("** or pow()", a, b);
  if (are_integral(a, b) && b.as_integer() >= 0)
    return integer_power(a.as_integer(), b.as_integer());
  const double base = a.as_real(), exponent = b.as_real();
  if (base == 0 && exponent < 0) {
    fail(ErrorCode::invalid_argument, "0.0 cannot be raised to a negative power");
  }
  if (base < 0 && exponent != std::floor(exponent)) {
    fail(ErrorCode::unsupported, "a negative number to a fractional power is complex");
  }
  const double result = std::pow(base, exponent);
  if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent)) {
    fail(ErrorCode::invalid_argument, "the result of ** is too large");
  }
  return Value::real(result);
}

Value negate(const Value& v) {
  require_defined(v);
  if (v.is(Value::Kind::real)) return Value::real(-v.as_real());
  if (!v.is_integral())
    fail(ErrorCode::invalid_argument, "bad operand type for unary -: '{}'", v.type_name());
  Int result = 0;
  return checked(__builtin_sub_overflow(Int{0}, v.as_integer(), &result), result);
}

Value unary_plus(const Value& v) {
  require_defined(v);
  if (!v.is_number())
    fail(ErrorCode::invalid_argument, "bad operand type for unary +: '{}'", v.type_name());
  return v.is(Value::Kind::real) ? v : Value::integer(v.as_integer());
}

}  // namespace quern::jinja
