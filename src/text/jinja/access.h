// SPDX-License-Identifier: Apache-2.0
// x.name, x[key] and x(…), as jinja2's sandbox allows them.
#pragma once

#include <string_view>

#include "text/jinja/arguments.h"
#include "text/jinja/value.h"

namespace quern::jinja {

// Methods and attributes first, then items; undefined where there is neither. Throws for an
// undefined object.
Value get_attribute(const Value& object, std::string_view name);
// Items first, then attributes.
Value get_item(const Value& object, const Value& key);
// The attribute alone, without falling back to items.
Value get_only_attribute(const Value& object, std::string_view name);
// The path "a.b.0" of filters such as map(attribute=…), or an index; none gives the object itself.
// An undefined value on the way becomes `otherwise`, where that is not null.
Value get_path(Value object, const Value& path, const Value* otherwise = nullptr);

Value call_value(Interpreter& in, const Value& callee, Arguments arguments);

}  // namespace quern::jinja
