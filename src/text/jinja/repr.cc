// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/repr.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/format.h"
#include "text/jinja/budget.h"
#include "text/jinja/object.h"
#include "text/jinja/python_text.h"

namespace quern::jinja {
namespace {

void append_items(const std::vector<Value>& items, std::string& out) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += ", ";
    append_repr(items[i], out);
  }
}

void append_dict(const Dict& dict, std::string& out) {
  out += '{';
  for (size_t i = 0; i < dict.size(); ++i) {
    const auto& [key, value] = dict.entries()[i];
    if (i > 0) out += ", ";
    append_repr(key, out);
    out += ": ";
    append_repr(value, out);
  }
  out += '}';
}

void append_text_repr(const Value& v, std::string& out) {
  Budget::charge_bytes(out.size() / 64 + v.as_string().size());
  if (v.is_markup()) out += "Markup(";
  append_quoted(v.as_string(), out);
  if (v.is_markup()) out += ')';
}

}  // namespace

std::string format_integer(Int value) {
  return format("{}", value);
}

std::string format_real(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 40> buffer;
  const auto end =
      std::to_chars(
          buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::scientific)
          .ptr;
  std::string text(buffer.data(), end);  // -d.ddde+XX
  const size_t e = text.find('e');
  const int exponent = std::stoi(text.substr(e + 1));
  if (exponent < -4 || exponent >= 16) return text;
  const std::string sign = text[0] == '-' ? "-" : "";
  std::string digits = text.substr(sign.size(), e - sign.size());
  std::erase(digits, '.');
  if (exponent < 0)
    return sign + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  const size_t whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return sign + digits + std::string(whole - digits.size(), '0') + ".0";
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

void append_str(const Value& v, std::string& out) {
  if (v.is_string()) {
    out += v.as_string();
  } else if (!v.is_undefined()) {
    append_repr(v, out);
  }
}

std::string to_str(const Value& v) {
  if (v.is_string()) Budget::charge_bytes(v.as_string().size());
  std::string out;
  append_str(v, out);
  return out;
}

void append_repr(const Value& v, std::string& out) {
  Budget::charge(1);
  const Nesting level;
  switch (v.kind()) {
    case Value::Kind::undefined:
      out += "Undefined";
      break;
    case Value::Kind::none:
      out += "None";
      break;
    case Value::Kind::boolean:
      out += v.as_boolean() ? "True" : "False";
      break;
    case Value::Kind::integer:
      out += format_integer(v.as_integer());
      break;
    case Value::Kind::real:
      out += format_real(v.as_real());
      break;
    case Value::Kind::string:
      append_text_repr(v, out);
      break;
    case Value::Kind::list:
      out += '[';
      append_items(v.items(), out);
      out += ']';
      break;
    case Value::Kind::tuple:
      out += '(';
      append_items(v.items(), out);
      out += v.items().size() == 1 ? ",)" : ")";
      break;
    case Value::Kind::dict:
      append_dict(v.as_dict(), out);
      break;
    case Value::Kind::object:
      v.as_object().append_repr(out);
      break;
  }
}

std::string to_repr(const Value& v) {
  std::string out;
  append_repr(v, out);
  return out;
}

}  // namespace quern::jinja
