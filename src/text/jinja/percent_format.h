// SPDX-License-Identifier: Apache-2.0
// Formatting of text with values: Python's "%s" % x and "{}".format(x).
#pragma once

#include "text/jinja/arguments.h"
#include "text/jinja/value.h"

namespace quern::jinja {

// `values` is a tuple, a dict (for %(name)s) or a single value.
Value percent_format(const Value& pattern, const Value& values);

Value brace_format(Interpreter& in, const Value& pattern, const Arguments& arguments);

}  // namespace quern::jinja
