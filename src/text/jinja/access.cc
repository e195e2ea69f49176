// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/access.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja/budget.h"
#include "text/jinja/methods.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"
#include "text/jinja/repr.h"
#include "text/jinja/string_literal.h"
#include "text/tokenizer/utf8.h"

namespace quern::jinja {
namespace {

Value missing(const Value& object, std::string_view name) {
  return Value::undefined(format("'{} object' has no attribute '{}'", object.type_name(), name));
}

// Nothing where Python's getattr would fail. What the sandbox forbids is undefined and says so when
// it is used.
std::optional<Value> python_attribute(const Value& object, std::string_view name) {
  if (name.starts_with("__") && name.ends_with("__") && name.size() > 4) {
    return is_python_attribute(name) ? std::optional(Value::undefined(format(
                                           "access to attribute '{}' of '{}' object is unsafe.",
                                           name,
                                           object.type_name())))
                                     : std::nullopt;
  }
  if (object.is(Value::Kind::object)) return object.as_object().attribute(name);
  if (is_mutating_method(object, name)) {
    return Value::undefined(
        format("access to attribute '{}' of '{}' object is unsafe.", name, object.type_name()));
  }
  if (const Method method = find_method(object, name))
    return Value::object(std::make_shared<BoundMethod>(object, method));
  return std::nullopt;
}

std::optional<Value> element_at(const Value& object, Int index) {
  const Int size = static_cast<Int>(length_of(object));
  if (index < 0) index += size;
  if (index < 0 || index >= size) return std::nullopt;
  if (object.is_list_or_tuple()) return object.items()[static_cast<size_t>(index)];
  const std::string& text = object.as_string();
  Budget::charge_bytes(text.size());
  size_t at = 0, length = 0;
  for (; index > 0; --index, at += length) utf8_at(text, at, length);
  utf8_at(text, at, length);
  return Value::string(text.substr(at, length), object.is_markup());
}

std::optional<Value> python_item(const Value& object, const Value& key) {
  if (object.is_dict()) {
    if (key.is(Value::Kind::list) || key.is_dict()) return std::nullopt;
    const Value* found = object.as_dict().find(key);
    return found ? std::optional(*found) : std::nullopt;
  }
  if (object.is(Value::Kind::object)) return object.as_object().item(key);
  const bool has_elements = object.is_list_or_tuple() || object.is_string();
  return has_elements && key.is_integral() ? element_at(object, key.as_integer()) : std::nullopt;
}

}  // namespace

Value get_attribute(const Value& object, std::string_view name) {
  require_defined(object);
  if (auto found = python_attribute(object, name)) return *found;
  if (object.is_dict()) {
    if (const Value* found = object.as_dict().find(name)) return *found;
  }
  return missing(object, name);
}

Value get_only_attribute(const Value& object, std::string_view name) {
  require_defined(object);
  if (auto found = python_attribute(object, name)) return *found;
  return missing(object, name);
}

Value get_item(const Value& object, const Value& key) {
  require_defined(object);
  if (auto found = python_item(object, key)) return *found;
  if (key.is_string()) {
    if (auto found = python_attribute(object, key.as_string())) return *found;
    return missing(object, key.as_string());
  }
  return Value::undefined(format("{} object has no element {}", object.type_name(), to_repr(key)));
}

Value get_path(Value object, const Value& path, const Value* otherwise) {
  const auto step = [&](const Value& key) {
    object = get_item(object, key);
    if (otherwise && !otherwise->is_none() && object.is_undefined()) object = *otherwise;
  };
  if (path.is_none()) return object;
  if (!path.is_string()) {
    step(path);
    return object;
  }
  std::string_view rest = path.as_string();
  for (bool is_last = false; !is_last;) {
    const size_t dot = rest.find('.');
    is_last = dot == std::string_view::npos;
    const std::string_view part = rest.substr(0, dot);
    rest = is_last ? "" : rest.substr(dot + 1);
    const bool is_index = !part.empty() && std::all_of(part.begin(), part.end(), [](char c) {
      return c >= '0' && c <= '9';
    });
    Int index = 0;
    step(is_index && parse_integer(part, 10, index) ? Value::integer(index)
                                                    : Value::string(std::string(part)));
  }
  return object;
}

Value call_value(Interpreter& in, const Value& callee, Arguments arguments) {
  require_defined(callee);
  if (!callee.is(Value::Kind::object)) {
    fail(ErrorCode::invalid_argument, "'{}' object is not callable", callee.type_name());
  }
  return callee.as_object().call(in, std::move(arguments));
}

}  // namespace quern::jinja
