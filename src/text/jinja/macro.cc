// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/macro.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja/budget.h"
#include "text/jinja/python_text.h"

namespace quern::jinja {
namespace {

std::optional<Value> take_named(Arguments& arguments, std::string_view name) {
  const auto found = std::find_if(arguments.named.begin(),
                                  arguments.named.end(),
                                  [&](const auto& argument) { return argument.first == name; });
  if (found == arguments.named.end()) return std::nullopt;
  Value value = std::move(found->second);
  arguments.named.erase(found);
  return value;
}

}  // namespace

void Macro::append_repr(std::string& out) const {
  if (parts_.name.empty()) {
    out += "<Macro anonymous>";
    return;
  }
  out += "<Macro ";
  append_quoted(parts_.name, out);
  out += '>';
}

std::optional<Value> Macro::attribute(std::string_view name) {
  if (name == "name") return parts_.name.empty() ? Value::none() : Value::string(parts_.name);
  if (name == "caller") return Value::boolean(parts_.takes_caller);
  if (name == "catch_varargs") return Value::boolean(parts_.takes_varargs);
  if (name == "catch_kwargs") return Value::boolean(parts_.takes_kwargs);
  return std::nullopt;
}

// All parameters that are given, then the defaults in order: a default may read any parameter.
void Macro::bind(Interpreter& in, Arguments& arguments) const {
  std::vector<const MacroParts::Parameter*> absent;
  for (size_t i = 0; i < parts_.parameters.size(); ++i) {
    const MacroParts::Parameter& parameter = parts_.parameters[i];
    std::optional<Value> given;
    if (i < arguments.positional.size()) {
      given = arguments.positional[i];
    } else {
      given = take_named(arguments, in.name_of(parameter.name));
    }
    if (!given) absent.push_back(&parameter);
    in.assign(parameter.name,
              given ? std::move(*given)
                    : Value::undefined(
                          format("parameter '{}' was not provided", in.name_of(parameter.name))));
  }
  for (const auto* parameter : absent) {
    if (parameter->otherwise) in.assign(parameter->name, parameter->otherwise->evaluate(in));
  }
}

void Macro::bind_rest(Interpreter& in, Arguments& arguments) const {
  const std::string_view name = parts_.name.empty() ? "caller" : std::string_view(parts_.name);
  if (parts_.takes_caller) {
    in.assign(parts_.caller,
              take_named(arguments, "caller").value_or(Value::undefined("No caller defined")));
  }
  if (parts_.takes_kwargs) {
    Dict rest;
    for (auto& [key, value] : arguments.named) rest.set(key, std::move(value));
    in.assign(parts_.kwargs, Value::dict(std::move(rest)));
  } else if (!arguments.named.empty()) {
    fail(ErrorCode::invalid_argument,
         "macro '{}' takes no keyword argument '{}'",
         name,
         arguments.named[0].first);
  }
  const size_t count = parts_.parameters.size();
  if (parts_.takes_varargs) {
    std::vector<Value> rest(arguments.positional.begin() + static_cast<std::ptrdiff_t>(std::min(
                                                               count, arguments.positional.size())),
                            arguments.positional.end());
    in.assign(parts_.varargs, Value::tuple(std::move(rest)));
  } else if (arguments.positional.size() > count) {
    fail(ErrorCode::invalid_argument, "macro '{}' takes not more than {} argument(s)", name, count);
  }
}

Value Macro::call(Interpreter& in, Arguments arguments) {
  const Nesting level;
  const int line = in.line;
  const Interpreter::Frame frame(in, closure_);
  bind(in, arguments);
  bind_rest(in, arguments);
  Flow flow = Flow::normal;
  Value text = in.capture(parts_.body, flow);
  in.line = line;
  return text;
}

}  // namespace quern::jinja
