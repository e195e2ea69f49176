// SPDX-License-Identifier: Apache-2.0
// Filters that order elements by a key.
#pragma once

#include "text/jinja/ast.h"

namespace quern::jinja {

// What an element is compared by: the attribute at `path` (none: itself), in lower case where text
// may differ in case.
struct SortKey {
  Value path;
  bool is_case_sensitive;

  Value of(const Value& item) const;
};

Value sort_filter(Interpreter& in, const Value& v, const Arguments& a);
Value dictsort_filter(Interpreter& in, const Value& v, const Arguments& a);
Value groupby_filter(Interpreter& in, const Value& v, const Arguments& a);

}  // namespace quern::jinja
