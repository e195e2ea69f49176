// SPDX-License-Identifier: Apache-2.0
// ToolSet: the tools of a request, as parsers need them: which names there are, and of which type
// an argument is that a model wrote as bare text.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace quern {

class ToolSet {
 public:
  ToolSet() = default;
  // An array of {"type": "function", "function": {"name", "parameters"}}, or null.
  explicit ToolSet(std::shared_ptr<const Json> tools);

  bool is_empty() const { return functions_.empty(); }
  bool has(std::string_view name) const { return find(name) != nullptr; }
  // The "parameters" of a tool; null if there are none.
  const Json* parameters(std::string_view name) const;

  // The types that the schema of an argument names, in its order ("string", "integer", …); empty
  // where nothing is known.
  std::vector<std::string> types_of(std::string_view tool, std::string_view argument) const;
  bool has_argument(std::string_view tool, std::string_view argument) const;

 private:
  const Json* find(std::string_view name) const;
  const Json* property(std::string_view tool, std::string_view argument) const;

  std::shared_ptr<const Json> tools_;
  std::vector<const Json*> functions_;
};

// The JSON value that a bare text stands for: the first of `types` that it can be; without types
// what it looks like. A string where nothing else fits, so nothing is lost.
std::string argument_as_json(std::string_view text, const std::vector<std::string>& types);

// Every text of these types is a string: it can be passed on while it is written.
bool is_always_text(const std::vector<std::string>& types);

}  // namespace quern
