// SPDX-License-Identifier: Apache-2.0
// Python's operators on values. Wrong types throw invalid_argument with Python's message, a result
// past its bounds exhausted (text) or invalid_argument (integers of more than 128 bits).
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace quern::jinja {

bool is_true(const Value& v);
bool equals(const Value& a, const Value& b);
// a < b for numbers, texts (by code points), lists, tuples; others have no order.
bool is_less(const Value& a, const Value& b, std::string_view operator_name = "<");
bool is_less_or_equal(const Value& a, const Value& b);
bool contains(const Value& container, const Value& item);

Value add(const Value& a, const Value& b);
Value subtract(const Value& a, const Value& b);
Value multiply(const Value& a, const Value& b);
Value divide(const Value& a, const Value& b);
Value floor_divide(const Value& a, const Value& b);
Value modulo(const Value& a, const Value& b);  // of text: printf-style formatting
Value power(const Value& a, const Value& b);
Value negate(const Value& v);
Value unary_plus(const Value& v);

// container[start:stop:step]; a bound that is none is absent.
struct Slice {
  Value start;
  Value stop;
  Value step;
};
Value slice(const Value& container, const Slice& bounds);

// Throws what an operation on an undefined value reports.
[[noreturn]] void fail_undefined(const Value& v);
void require_defined(const Value& v);
// The index as Python counts it (negative from the end); throws unless it is an integer.
Int require_index(const Value& v, std::string_view what);

}  // namespace quern::jinja
