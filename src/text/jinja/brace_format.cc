// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"
#include "text/jinja/access.h"
#include "text/jinja/budget.h"
#include "text/jinja/number_format.h"
#include "text/jinja/operators.h"
#include "text/jinja/percent_format.h"
#include "text/jinja/repr.h"
#include "text/jinja/string_literal.h"

namespace quern::jinja {
namespace {

class BraceFormatter {
 public:
  explicit BraceFormatter(const Arguments& arguments) : arguments_(arguments) {}

  std::string run(std::string_view pattern, int level = 0);

 private:
  std::string replacement(std::string_view field, int level);
  Value field_value(std::string_view path);
  Value argument(std::string_view name);

  const Arguments& arguments_;
  size_t next_ = 0;
};

// The end of the field that begins at `at`: the closing brace of the same level.
size_t closing_brace(std::string_view pattern, size_t at) {
  for (int open = 1; at < pattern.size(); ++at) {
    if (pattern[at] == '{') ++open;
    if (pattern[at] == '}' && --open == 0) return at;
  }
  fail(ErrorCode::invalid_argument, "format: expected '}}' before the end of the text");
}

std::string BraceFormatter::run(std::string_view pattern, int level) {
  if (level > 2) fail(ErrorCode::invalid_argument, "format: fields nest too deeply");
  std::string out;
  for (size_t at = 0; at < pattern.size(); ++at) {
    const char c = pattern[at];
    if (c != '{' && c != '}') {
      out += c;
    } else if (at + 1 < pattern.size() && pattern[at + 1] == c) {
      out += c;
      ++at;
    } else if (c == '}') {
      fail(ErrorCode::invalid_argument, "format: a single '}}' stands in the text");
    } else {
      const size_t end = closing_brace(pattern, at + 1);
      out += replacement(pattern.substr(at + 1, end - at - 1), level);
      Budget::charge_bytes(out.size());
      at = end;
    }
  }
  return out;
}

std::string BraceFormatter::replacement(std::string_view field, int level) {
  const size_t colon = std::min(field.find(':'), field.size());
  const size_t bang = std::min(field.substr(0, colon).find('!'), colon);
  Value v = field_value(field.substr(0, bang));
  const std::string_view conversion = field.substr(bang, colon - bang);
  if (conversion == "!r" || conversion == "!a") {
    v = Value::string(to_repr(v));
  } else if (conversion == "!s") {
    v = Value::string(to_str(v));
  } else if (!conversion.empty()) {
    fail(ErrorCode::invalid_argument, "format: expected !s, !r or !a, got '{}'", conversion);
  }
  const std::string spec_text = run(colon < field.size() ? field.substr(colon + 1) : "", level + 1);
  if (spec_text.empty()) return to_str(v);
  return format_field(v.is(Value::Kind::boolean) ? Value::integer(v.as_integer()) : v,
                      parse_field_spec(spec_text));
}

Value BraceFormatter::argument(std::string_view name) {
  Int index = 0;
  if (name.empty()) {
    index = static_cast<Int>(next_++);
  } else if (!parse_integer(name, 10, index)) {
    for (const auto& [known, value] : arguments_.named) {
      if (known == name) return value;
    }
    fail(ErrorCode::invalid_argument, "format: the text names '{}', which is not given", name);
  }
  if (index >= static_cast<Int>(arguments_.positional.size())) {
    fail(ErrorCode::invalid_argument, "format: there is no argument number {}", index);
  }
  return arguments_.positional[static_cast<size_t>(index)];
}

// name, name.attribute, name[key], and chains of them.
Value BraceFormatter::field_value(std::string_view path) {
  const size_t first = std::min(path.find_first_of(".["), path.size());
  Value v = argument(path.substr(0, first));
  for (size_t at = first; at < path.size();) {
    if (path[at] == '.') {
      const size_t end = std::min(path.find_first_of(".[", at + 1), path.size());
      v = get_attribute(v, path.substr(at + 1, end - at - 1));
      at = end;
    } else {
      const size_t end = path.find(']', at);
      if (path[at] != '[' || end == std::string_view::npos)
        fail(ErrorCode::invalid_argument, "format: expected ']' in a field");
      const std::string_view key = path.substr(at + 1, end - at - 1);
      Int index = 0;
      const bool is_index = !key.empty() && parse_integer(key, 10, index);
      v = get_item(v, is_index ? Value::integer(index) : Value::string(std::string(key)));
      at = end + 1;
    }
  }
  return v;
}

}  // namespace

Value brace_format(Interpreter&, const Value& pattern, const Arguments& arguments) {
  return Value::string(BraceFormatter(arguments).run(pattern.as_string()), pattern.is_markup());
}

}  // namespace quern::jinja
