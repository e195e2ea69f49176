// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/tests.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"
#include "text/jinja/filters.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"
#include "text/jinja/repr.h"

namespace quern::jinja {
namespace {

using Kind = Value::Kind;

// Tests without arguments, of the kind of a value.
template <typename Predicate>
bool plain(std::string_view name, const Value& v, const Arguments& a, Predicate holds) {
  const Bound bound(name, a, {});
  return holds(v);
}

template <Kind kind>
bool is_kind(Interpreter&, const Value& v, const Arguments& a) {
  return plain("test", v, a, [](const Value& x) { return x.is(kind); });
}

const Value& other(const Arguments& a) {
  if (a.positional.size() != 1 || !a.named.empty())
    fail(ErrorCode::invalid_argument, "a test needs one argument");
  return a.positional[0];
}

bool is_defined(Interpreter&, const Value& v, const Arguments& a) {
  return plain("defined", v, a, [](const Value& x) { return !x.is_undefined(); });
}
bool is_number(Interpreter&, const Value& v, const Arguments& a) {
  return plain("number", v, a, [](const Value& x) { return x.is_number(); });
}
bool is_true_test(Interpreter&, const Value& v, const Arguments& a) {
  return plain("true", v, a, [](const Value& x) { return x.is(Kind::boolean) && x.as_boolean(); });
}
bool is_false_test(Interpreter&, const Value& v, const Arguments& a) {
  return plain(
      "false", v, a, [](const Value& x) { return x.is(Kind::boolean) && !x.as_boolean(); });
}
bool is_callable_test(Interpreter&, const Value& v, const Arguments& a) {
  return plain("callable", v, a, [](const Value& x) { return is_callable(x) || x.is_undefined(); });
}
bool is_escaped(Interpreter&, const Value& v, const Arguments& a) {
  return plain("escaped", v, a, [](const Value& x) { return x.is_markup(); });
}

bool is_iterable(Interpreter&, const Value& v, const Arguments& a) {
  return plain("iterable", v, a, [](const Value& x) {
    return x.is_undefined() || x.is_string() || x.is_list_or_tuple() || x.is_dict() ||
           (x.is(Kind::object) && x.as_object().is_iterable());
  });
}

// What has a length and can be indexed; undefined has the first and refuses the second only when it
// is used.
bool is_sequence(Interpreter&, const Value& v, const Arguments& a) {
  return plain("sequence", v, a, [](const Value& x) {
    return x.is_undefined() || x.is_string() || x.is_list_or_tuple() || x.is_dict() ||
           x.object_as<Range>() != nullptr;
  });
}

bool all_cased(std::string_view text, bool (*wanted)(char32_t), bool (*refused)(char32_t)) {
  const std::u32string points = decode_utf8(text);
  return std::any_of(points.begin(), points.end(), wanted) &&
         std::none_of(points.begin(), points.end(), [&](char32_t c) {
           return refused(c) || is_title_case(c);
         });
}

bool is_lower(Interpreter&, const Value& v, const Arguments& a) {
  return plain("lower", v, a, [](const Value& x) {
    return all_cased(to_str(x), is_lower_case, is_upper_case);
  });
}
bool is_upper(Interpreter&, const Value& v, const Arguments& a) {
  return plain("upper", v, a, [](const Value& x) {
    return all_cased(to_str(x), is_upper_case, is_lower_case);
  });
}

bool has_remainder(const Value& v, const Value& divisor, Int wanted) {
  return equals(modulo(v, divisor), Value::integer(wanted));
}

bool is_odd(Interpreter&, const Value& v, const Arguments& a) {
  return plain("odd", v, a, [](const Value& x) { return has_remainder(x, Value::integer(2), 1); });
}
bool is_even(Interpreter&, const Value& v, const Arguments& a) {
  return plain("even", v, a, [](const Value& x) { return has_remainder(x, Value::integer(2), 0); });
}
bool is_divisible(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("divisibleby", a, {"num"}, 1);
  return has_remainder(v, bound.at(0), 0);
}

bool is_same(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("sameas", a, {"other"}, 1);
  return v.is_same(bound.at(0));
}
bool is_in(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("in", a, {"seq"}, 1);
  return contains(bound.at(0), v);
}
bool is_filter(Interpreter&, const Value& v, const Arguments& a) {
  return plain("filter", v, a, [](const Value& x) {
    return x.is_string() && find_filter(x.as_string()) != nullptr;
  });
}
bool is_test(Interpreter&, const Value& v, const Arguments& a) {
  return plain("test", v, a, [](const Value& x) {
    return x.is_string() && find_test(x.as_string()) != nullptr;
  });
}

bool is_equal(Interpreter&, const Value& v, const Arguments& a) {
  return equals(v, other(a));
}
bool is_unequal(Interpreter&, const Value& v, const Arguments& a) {
  return !equals(v, other(a));
}
bool is_below(Interpreter&, const Value& v, const Arguments& a) {
  return is_less(v, other(a));
}
bool is_above(Interpreter&, const Value& v, const Arguments& a) {
  return is_less(other(a), v);
}
bool is_at_most(Interpreter&, const Value& v, const Arguments& a) {
  return is_less_or_equal(v, other(a));
}
bool is_at_least(Interpreter&, const Value& v, const Arguments& a) {
  return is_less_or_equal(other(a), v);
}

constexpr std::array kTests = std::to_array<std::pair<std::string_view, Test>>({
    {"defined", is_defined},
    {"undefined", is_kind<Kind::undefined>},
    {"none", is_kind<Kind::none>},
    {"boolean", is_kind<Kind::boolean>},
    {"integer", is_kind<Kind::integer>},
    {"float", is_kind<Kind::real>},
    {"string", is_kind<Kind::string>},
    {"mapping", is_kind<Kind::dict>},
    {"number", is_number},
    {"true", is_true_test},
    {"false", is_false_test},
    {"iterable", is_iterable},
    {"sequence", is_sequence},
    {"callable", is_callable_test},
    {"escaped", is_escaped},
    {"lower", is_lower},
    {"upper", is_upper},
    {"odd", is_odd},
    {"even", is_even},
    {"divisibleby", is_divisible},
    {"sameas", is_same},
    {"in", is_in},
    {"filter", is_filter},
    {"test", is_test},
    {"==", is_equal},
    {"eq", is_equal},
    {"equalto", is_equal},
    {"!=", is_unequal},
    {"ne", is_unequal},
    {"<", is_below},
    {"lt", is_below},
    {"lessthan", is_below},
    {">", is_above},
    {"gt", is_above},
    {"greaterthan", is_above},
    {"<=", is_at_most},
    {"le", is_at_most},
    {">=", is_at_least},
    {"ge", is_at_least},
});

}  // namespace

Test find_test(std::string_view name) {
  const auto* found = std::find_if(
      kTests.begin(), kTests.end(), [&](const auto& entry) { return entry.first == name; });
  return found == kTests.end() ? nullptr : found->second;
}

}  // namespace quern::jinja
