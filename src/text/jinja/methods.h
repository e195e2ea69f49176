// SPDX-License-Identifier: Apache-2.0
// The methods of text, lists, tuples and dictionaries that a template may call.
#pragma once

#include <span>
#include <string_view>
#include <utility>

#include "text/jinja/objects.h"

namespace quern::jinja {

// Null where the type has no such method.
Method find_method(const Value& object, std::string_view name);
// Methods that would change a list or a dictionary: the sandbox refuses them.
bool is_mutating_method(const Value& object, std::string_view name);
// Names that every Python object answers to (__class__, …); the sandbox hides them.
bool is_python_attribute(std::string_view name);

using MethodEntry = std::pair<std::string_view, Method>;
std::span<const MethodEntry> text_methods();
std::span<const MethodEntry> text_search_methods();
std::span<const MethodEntry> container_methods(const Value& object);

}  // namespace quern::jinja
