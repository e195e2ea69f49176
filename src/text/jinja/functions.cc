// SPDX-License-Identifier: Apache-2.0
// The functions that every template sees.
#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"
#include "text/jinja/repr.h"
#include "text/jinja/strftime.h"

namespace quern::jinja {
namespace {

constexpr Int kMaxRange = 100'000;  // of jinja2's sandbox
constexpr Int kFar = Int{1} << 62;

Value make_range(Interpreter&, const Arguments& a) {
  const Bound bound("range", a, {"start", "stop", "step"}, 1);
  if (!a.named.empty()) fail(ErrorCode::invalid_argument, "range takes no keyword arguments");
  const auto number = [&](size_t i) {
    const Int n = require_index(bound.at(i), "range");
    if (n < -kFar || n > kFar) fail(ErrorCode::invalid_argument, "range: a number is too large");
    return n;
  };
  const Int start = bound[1] ? number(0) : 0, stop = bound[1] ? number(1) : number(0),
            step = bound[2] ? number(2) : 1;
  if (step == 0) fail(ErrorCode::invalid_argument, "range: the step must not be zero");
  const Int distance = step > 0 ? stop - start : start - stop, stride = step > 0 ? step : -step;
  const Int count = distance > 0 ? (distance - 1) / stride + 1 : 0;
  if (count > kMaxRange)
    fail(ErrorCode::exhausted, "range: more than {} elements", static_cast<int64_t>(kMaxRange));
  return Value::object(std::make_shared<Range>(start, stop, step, count));
}

// dict(mapping or pairs, name=value, …)
Dict dict_from_arguments(std::string_view function, const Arguments& a) {
  Dict out;
  if (a.positional.size() > 1)
    fail(ErrorCode::invalid_argument, "{} takes at most one positional argument", function);
  if (!a.positional.empty() && a.positional[0].is_dict()) {
    out = a.positional[0].as_dict();
  } else if (!a.positional.empty()) {
    const auto sequence = iterate(a.positional[0]);
    for (const Value& pair : sequence->items) {
      const auto parts = iterate(pair);
      if (parts->items.size() != 2)
        fail(ErrorCode::invalid_argument, "{}: expected pairs of key and value", function);
      out.set(parts->items[0], parts->items[1]);
    }
  }
  for (const auto& [name, value] : a.named) out.set(name, value);
  return out;
}

Value make_dict(Interpreter&, const Arguments& a) {
  return Value::dict(dict_from_arguments("dict", a));
}

Value make_namespace(Interpreter& in, const Arguments& a) {
  auto space = std::make_shared<Namespace>(Dict());
  const Dict attributes = dict_from_arguments("namespace", a);
  for (const auto& [key, value] : attributes.entries()) {
    if (key.is_string()) space->set(key.as_string(), value);
  }
  return in.adopt(std::move(space));
}

Value make_cycler(Interpreter&, const Arguments& a) {
  if (a.positional.empty())
    fail(ErrorCode::invalid_argument, "cycler: at least one item has to be provided");
  return Value::object(std::make_shared<Cycler>(a.positional));
}

Value make_joiner(Interpreter&, const Arguments& a) {
  const Bound bound("joiner", a, {"sep"});
  return Value::object(std::make_shared<Joiner>(bound[0] ? *bound[0] : Value::string(", ")));
}

Value raise_exception(Interpreter&, const Arguments& a) {
  const Bound bound("raise_exception", a, {"message"}, 1);
  fail(ErrorCode::invalid_argument, "{}", to_str(bound.at(0)));
}

Value strftime_now(Interpreter& in, const Arguments& a) {
  const Bound bound("strftime_now", a, {"format"}, 1);
  const std::string* pattern = bound.text_or_null(0);
  if (!pattern) fail(ErrorCode::invalid_argument, "strftime_now: expected a format");
  return Value::string(format_time(*pattern, in.now_unix_s()));
}

constexpr std::array kFunctions =
    std::to_array<std::pair<std::string_view, Value (*)(Interpreter&, const Arguments&)>>({
        {"range", make_range},
        {"dict", make_dict},
        {"namespace", make_namespace},
        {"cycler", make_cycler},
        {"joiner", make_joiner},
        {"raise_exception", raise_exception},
        {"strftime_now", strftime_now},
    });

}  // namespace

Value builtin_function(std::string_view name) {
  const auto* found = std::find_if(
      kFunctions.begin(), kFunctions.end(), [&](const auto& entry) { return entry.first == name; });
  if (found == kFunctions.end()) return Value::undefined(format("'{}' is undefined", name));
  return Value::object(std::make_shared<Function>(std::string(name), found->second));
}

}  // namespace quern::jinja
