// SPDX-License-Identifier: Apache-2.0
// Filters on text.
#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/jinja/budget.h"
#include "text/jinja/filters.h"
#include "text/jinja/html.h"
#include "text/jinja/number_format.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"
#include "text/jinja/percent_format.h"
#include "text/jinja/python_text.h"
#include "text/jinja/repr.h"
#include "text/jinja/strip.h"

namespace quern::jinja {
namespace {

template <std::string (*change)(std::string_view)>
Value changed(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("a text filter", a, {});
  return Value::string(change(to_str(v)), v.is_markup());
}

// Words begin after white space and - ( { [ <, not after every other sign as in str.title.
std::string title_words(std::string_view text) {
  const std::u32string points = decode_utf8(text);
  const auto ends_word = [](char32_t c) {
    return is_space(c) || std::u32string_view(U"-({[<").find(c) != std::u32string_view::npos;
  };
  std::string out;
  for (size_t at = 0; at < points.size();) {
    if (ends_word(points[at])) {
      out += encode_utf8(points.substr(at++, 1));
      continue;
    }
    size_t end = at;
    while (end < points.size() && !ends_word(points[end])) ++end;
    out += to_upper(encode_utf8(points.substr(at, 1))) +
           to_lower(encode_utf8(points.substr(at + 1, end - at - 1)));
    at = end;
  }
  return out;
}

Value trim(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("trim", a, {"chars"});
  return Value::string(strip(to_str(v), Side::both, bound.text_or_null(0)), v.is_markup());
}

Value replace_filter(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("replace", a, {"old", "new", "count"}, 2);
  return Value::string(
      replace(to_str(v), to_str(bound.at(0)), to_str(bound.at(1)), bound.integer(2, -1)));
}

const std::string& text_of(const Value& v, std::string_view filter) {
  require_defined(v);
  if (!v.is_string())
    fail(ErrorCode::invalid_argument, "{}: expected str, got {}", filter, v.type_name());
  return v.as_string();
}

Value indent(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("indent", a, {"width", "first", "blank"});
  std::string indention;
  if (bound[0] && bound[0]->is_string()) {
    indention = bound[0]->as_string();
  } else {
    const Int width = bound[0] ? require_index(*bound[0], "indent") : 4;
    require_modest(width);
    indention.assign(static_cast<size_t>(std::max<Int>(width, 0)), ' ');
  }
  const std::string text = text_of(v, "indent") + "\n";
  std::string out = bound.flag(1, false) ? indention : "";
  bool is_first = true;
  for (const std::string_view line : split_lines(text)) {
    if (!is_first) out += '\n';
    if (!is_first && (!line.empty() || bound.flag(2, false))) {
      Budget::charge_bytes(indention.size());
      out += indention;
    }
    out += line;
    is_first = false;
  }
  Budget::charge_bytes(out.size());
  return Value::string(std::move(out), v.is_markup());
}

Value truncate(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("truncate", a, {"length", "killwords", "end", "leeway"});
  const std::string end = bound.text(2, "...");
  const Int length = bound.integer(0, 255), leeway = bound.integer(3, 5),
            end_size = static_cast<Int>(char_count(end));
  if (length < end_size || leeway < 0)
    fail(ErrorCode::invalid_argument, "truncate: expected a length of at least {}", end_size);
  const std::u32string points = decode_utf8(text_of(v, "truncate"));
  if (static_cast<Int>(points.size()) <= length + leeway) return v;
  std::u32string kept = points.substr(0, static_cast<size_t>(length - end_size));
  if (!bound.flag(1, false)) kept = kept.substr(0, kept.rfind(U' '));
  return Value::string(encode_utf8(kept) + end);
}

Value word_count(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("wordcount", a, {});
  Int words = 0;
  bool was_word = false;
  for (const char32_t c : decode_utf8(to_str(v))) {
    words += is_word(c) && !was_word;
    was_word = is_word(c);
  }
  return Value::integer(words);
}

Value center_filter(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("center", a, {"width"});
  return Value::string(center(to_str(v), bound.integer(0, 80), " "), v.is_markup());
}

Value format_filter(Interpreter&, const Value& v, const Arguments& a) {
  if (!a.positional.empty() && !a.named.empty()) {
    fail(ErrorCode::invalid_argument, "format takes values or named values, not both");
  }
  const Value pattern = v.is_string() ? v : Value::string(to_str(v));
  if (a.named.empty()) return percent_format(pattern, Value::tuple(a.positional));
  Dict named;
  for (const auto& [name, value] : a.named) named.set(name, value);
  return percent_format(pattern, Value::dict(std::move(named)));
}

Value escape(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("escape", a, {});
  return v.is_markup() ? v : Value::string(escape_html(to_str(v)), true);
}

Value force_escape(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("forceescape", a, {});
  return Value::string(escape_html(to_str(v)), true);
}

Value mark_safe(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("safe", a, {});
  return Value::string(to_str(v), true);
}

Value url_encode(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("urlencode", a, {});
  if (v.is_string() || !try_iterate(v)) return Value::string(quote_url(to_str(v), false));
  const auto pairs =
      v.is_dict() ? DictView(v.dict_ref(), DictView::Part::items).iterate() : iterate(v);
  std::string out;
  for (const Value& pair : pairs->items) {
    const auto parts = iterate(pair);
    if (parts->items.size() != 2)
      fail(ErrorCode::invalid_argument, "urlencode: expected pairs of name and value");
    if (!out.empty()) out += '&';
    out +=
        quote_url(to_str(parts->items[0]), true) + "=" + quote_url(to_str(parts->items[1]), true);
  }
  return Value::string(std::move(out));
}

constexpr std::array kFilters = std::to_array<FilterEntry>({
    {"upper", changed<to_upper>},
    {"lower", changed<to_lower>},
    {"capitalize", changed<capitalize>},
    {"title", changed<title_words>},
    {"trim", trim},
    {"replace", replace_filter},
    {"indent", indent},
    {"truncate", truncate},
    {"wordcount", word_count},
    {"center", center_filter},
    {"format", format_filter},
    {"e", escape},
    {"escape", escape},
    {"forceescape", force_escape},
    {"safe", mark_safe},
    {"urlencode", url_encode},
});

}  // namespace

std::span<const FilterEntry> text_filters() {
  return kFilters;
}

}  // namespace quern::jinja
