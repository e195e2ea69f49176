// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/arguments.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja/operators.h"
#include "text/jinja/repr.h"

namespace quern::jinja {

Bound::Bound(std::string_view function,
             const Arguments& arguments,
             std::initializer_list<std::string_view> parameters,
             size_t required)
    : function_(function), values_(parameters.size(), nullptr) {
  if (arguments.positional.size() > parameters.size()) {
    fail(ErrorCode::invalid_argument,
         "{} takes at most {} arguments, got {}",
         function,
         parameters.size(),
         arguments.positional.size());
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto* found = std::find(parameters.begin(), parameters.end(), name);
    if (found == parameters.end()) {
      fail(ErrorCode::invalid_argument, "{} has no parameter named '{}'", function, name);
    }
    const Value*& slot = values_[static_cast<size_t>(found - parameters.begin())];
    if (slot) fail(ErrorCode::invalid_argument, "{} got two values for '{}'", function, name);
    slot = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!values_[i])
      fail(ErrorCode::invalid_argument, "{} needs '{}'", function, parameters.begin()[i]);
  }
}

bool Bound::flag(size_t i, bool otherwise) const {
  return values_[i] ? is_true(*values_[i]) : otherwise;
}

Int Bound::integer(size_t i, Int otherwise) const {
  return given(i) ? require_index(*values_[i], function_) : otherwise;
}

std::string Bound::text(size_t i, std::string_view otherwise) const {
  return given(i) ? to_str(*values_[i]) : std::string(otherwise);
}

const std::string* Bound::text_or_null(size_t i) const {
  if (!given(i)) return nullptr;
  require_defined(*values_[i]);
  if (!values_[i]->is_string()) {
    fail(ErrorCode::invalid_argument,
         "{}: expected str, got {}",
         function_,
         values_[i]->type_name());
  }
  return &values_[i]->as_string();
}

}  // namespace quern::jinja
