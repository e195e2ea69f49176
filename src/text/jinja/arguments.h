// SPDX-License-Identifier: Apache-2.0
// Arguments of a call, and how they meet the parameters of a built-in function.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace quern::jinja {

class Interpreter;

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Binds as Python does: positional ones first, then by name. Throws invalid_argument for one too
// many, an unknown name, or a missing one among the first `required`. Refers to the arguments, so
// it must not outlive them.
class Bound {
 public:
  Bound(std::string_view function,
        const Arguments& arguments,
        std::initializer_list<std::string_view> parameters,
        size_t required = 0);

  const Value* operator[](size_t i) const { return values_[i]; }  // null where not given
  const Value& at(size_t i) const { return *values_[i]; }         // of a required one
  // Not given and none are alike for these three.
  bool flag(size_t i, bool otherwise) const;
  Int integer(size_t i, Int otherwise) const;
  std::string text(size_t i, std::string_view otherwise) const;
  // Nothing where not given or none; else it must be text.
  const std::string* text_or_null(size_t i) const;

 private:
  const Value* given(size_t i) const {
    return values_[i] && !values_[i]->is_none() ? values_[i] : nullptr;
  }

  std::string_view function_;
  std::vector<const Value*> values_;
};

}  // namespace quern::jinja
