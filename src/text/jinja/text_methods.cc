// SPDX-License-Identifier: Apache-2.0
// Methods of text that change or describe it.
#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/jinja/budget.h"
#include "text/jinja/methods.h"
#include "text/jinja/number_format.h"
#include "text/jinja/percent_format.h"
#include "text/jinja/python_text.h"
#include "text/jinja/strip.h"

namespace quern::jinja {
namespace {

Value like(const Value& self, std::string text) {
  return Value::string(std::move(text), self.is_markup());
}

template <std::string (*change)(std::string_view)>
Value changed(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("a method of str", a, {});
  Budget::charge_bytes(self.as_string().size());
  return like(self, change(self.as_string()));
}

template <Side side>
Value stripped(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("strip", a, {"chars"});
  return like(self, strip(self.as_string(), side, bound.text_or_null(0)));
}

// Whether the text is not empty and all its characters are of a class.
template <bool (*is_class)(char32_t)>
Value all_of_class(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("a method of str", a, {});
  Budget::charge_bytes(self.as_string().size());
  const std::u32string points = decode_utf8(self.as_string());
  return Value::boolean(!points.empty() && std::all_of(points.begin(), points.end(), is_class));
}

bool is_alphanumeric(char32_t c) {
  return is_alpha(c) || is_decimal(c) || is_digit(c) || is_numeric(c);
}

template <bool (*wanted)(char32_t), bool (*refused)(char32_t)>
Value all_of_case(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("a method of str", a, {});
  const std::u32string points = decode_utf8(self.as_string());
  return Value::boolean(std::any_of(points.begin(), points.end(), wanted) &&
                        std::none_of(points.begin(), points.end(), [](char32_t c) {
                          return refused(c) || is_title_case(c);
                        }));
}

Value is_title(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("istitle", a, {});
  bool was_cased = false, has_cased = false;
  for (const char32_t c : decode_utf8(self.as_string())) {
    const bool is_start = is_upper_case(c) || is_title_case(c);
    if ((is_start && was_cased) || (is_lower_case(c) && !was_cased)) return Value::boolean(false);
    was_cased = is_start || is_lower_case(c);
    has_cased |= was_cased;
  }
  return Value::boolean(has_cased);
}

Value is_ascii_method(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("isascii", a, {});
  return Value::boolean(is_ascii(self.as_string()));
}

Value is_identifier(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("isidentifier", a, {});
  const std::u32string points = decode_utf8(self.as_string());
  return Value::boolean(!points.empty() && !is_numeric(points[0]) &&
                        std::all_of(points.begin(), points.end(), is_word));
}

template <char align>
Value justified(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("a method of str", a, {"width", "fillchar"}, 1);
  FieldSpec spec;
  spec.align = align;
  spec.width = bound.integer(0, 0);
  spec.fill = bound.text(1, " ");
  if (char_count(spec.fill) != 1)
    fail(ErrorCode::invalid_argument, "the fill character must be exactly one character long");
  return like(self,
              align == '^' ? center(self.as_string(), spec.width, spec.fill)
                           : format_text_field(self.as_string(), spec));
}

Value zero_filled(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("zfill", a, {"width"}, 1);
  const std::string& text = self.as_string();
  const size_t sign = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  FieldSpec spec;
  spec.align = '>';
  spec.fill = '0';
  spec.width = bound.integer(0, 0) - static_cast<Int>(sign);
  return like(self,
              text.substr(0, sign) + format_text_field(std::string_view(text).substr(sign), spec));
}

Value expand_tabs(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("expandtabs", a, {"tabsize"});
  const Int width = bound.integer(0, 8);
  std::string out;
  Int column = 0;
  for (const char c : self.as_string()) {
    if (c == '\t') {
      const Int count = width > 0 ? width - column % width : 0;
      require_modest(count);
      out.append(static_cast<size_t>(count), ' ');
      column += count;
      continue;
    }
    out += c;
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) ++column;
    if (c == '\n' || c == '\r') column = 0;
  }
  return like(self, std::move(out));
}

Value formatted(Interpreter& in, const Value& self, const Arguments& a) {
  return brace_format(in, self, a);
}

Value formatted_map(Interpreter& in, const Value& self, const Arguments& a) {
  const Bound bound("format_map", a, {"mapping"}, 1);
  Arguments named;
  if (!bound.at(0).is_dict()) fail(ErrorCode::invalid_argument, "format_map: expected a mapping");
  for (const auto& [key, value] : bound.at(0).as_dict().entries()) {
    if (key.is_string()) named.named.emplace_back(key.as_string(), value);
  }
  return brace_format(in, self, named);
}

constexpr std::array kMethods = std::to_array<MethodEntry>({
    {"upper", changed<to_upper>},
    {"lower", changed<to_lower>},
    {"casefold", changed<to_lower>},
    {"title", changed<to_title>},
    {"capitalize", changed<capitalize>},
    {"swapcase", changed<swap_case>},
    {"strip", stripped<Side::both>},
    {"lstrip", stripped<Side::left>},
    {"rstrip", stripped<Side::right>},
    {"isspace", all_of_class<is_space>},
    {"isalpha", all_of_class<is_alpha>},
    {"isdecimal", all_of_class<is_decimal>},
    {"isdigit", all_of_class<is_digit>},
    {"isnumeric", all_of_class<is_numeric>},
    {"isalnum", all_of_class<is_alphanumeric>},
    {"isupper", all_of_case<is_upper_case, is_lower_case>},
    {"islower", all_of_case<is_lower_case, is_upper_case>},
    {"istitle", is_title},
    {"isascii", is_ascii_method},
    {"isidentifier", is_identifier},
    {"ljust", justified<'<'>},
    {"rjust", justified<'>'>},
    {"center", justified<'^'>},
    {"zfill", zero_filled},
    {"expandtabs", expand_tabs},
    {"format", formatted},
    {"format_map", formatted_map},
});

}  // namespace

std::span<const MethodEntry> text_methods() {
  return kMethods;
}

}  // namespace quern::jinja
