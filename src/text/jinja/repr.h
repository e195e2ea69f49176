// SPDX-License-Identifier: Apache-2.0
// Values as text: Python's str(), repr() and the JSON of json.dumps.
#pragma once

#include <optional>
#include <string>

#include "text/jinja/value.h"

namespace quern::jinja {

std::string format_integer(Int value);
// The shortest digits that read back as the same number, laid out as Python does: 1.0, 1e-07,
// 1e+16, inf, nan.
std::string format_real(double value);

// str(): text as it is, nothing for undefined, everything else as repr() prints it.
void append_str(const Value& v, std::string& out);
std::string to_str(const Value& v);
void append_repr(const Value& v, std::string& out);
std::string to_repr(const Value& v);

struct JsonStyle {
  bool is_ascii = false;              // escape everything else
  bool is_sorted = false;             // by key
  std::optional<std::string> indent;  // of one level; nothing: all on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

// Throws invalid_argument for what JSON cannot say.
std::string to_json(const Value& v, const JsonStyle& style);

}  // namespace quern::jinja
