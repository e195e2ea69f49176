// SPDX-License-Identifier: Apache-2.0
// Filters on values of any kind.
#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/jinja/access.h"
#include "text/jinja/filters.h"
#include "text/jinja/number_format.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"
#include "text/jinja/repr.h"

namespace quern::jinja {
namespace {

Value default_filter(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("default", a, {"default_value", "boolean"});
  const bool is_absent = v.is_undefined() || (bound.flag(1, false) && !is_true(v));
  if (!is_absent) return v;
  return bound[0] ? *bound[0] : Value::string("");
}

Value string_filter(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("string", a, {});
  return v.is_string() ? v : Value::string(to_str(v));
}

Value length_filter(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("length", a, {});
  return Value::integer(static_cast<Int>(length_of(v)));
}

Value attr_filter(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("attr", a, {"name"}, 1);
  return get_only_attribute(v, bound.text(0, ""));
}

Value items_filter(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("items", a, {});
  if (v.is_undefined()) return Value::object(std::make_shared<Iterator>(std::vector<Value>()));
  if (!v.is_dict())
    fail(ErrorCode::invalid_argument, "items: expected a mapping, got {}", v.type_name());
  return Value::object(
      std::make_shared<Iterator>(DictView(v.dict_ref(), DictView::Part::items).iterate()->items));
}

std::optional<std::string> indent_of(const Value* indent) {
  if (!indent || indent->is_none()) return std::nullopt;
  if (indent->is_string()) return indent->as_string();
  const Int width = require_index(*indent, "tojson: indent");
  require_modest(width);
  return std::string(static_cast<size_t>(std::max<Int>(width, 0)), ' ');
}

Value to_json_filter(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("tojson", a, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.is_ascii = bound.flag(0, false);
  style.indent = indent_of(bound[1]);
  style.is_sorted = bound.flag(3, false);
  if (style.indent) style.item_separator = ',';
  if (bound[2] && !bound[2]->is_none()) {
    const auto separators = iterate(*bound[2]);
    const auto& parts = separators->items;
    if (parts.size() != 2 || !parts[0].is_string() || !parts[1].is_string()) {
      fail(ErrorCode::invalid_argument, "tojson: expected separators (item, key)");
    }
    style.item_separator = parts[0].as_string();
    style.key_separator = parts[1].as_string();
  }
  return Value::string(to_json(v, style));
}

constexpr std::array kFilters = std::to_array<FilterEntry>({
    {"default", default_filter},
    {"d", default_filter},
    {"string", string_filter},
    {"length", length_filter},
    {"count", length_filter},
    {"attr", attr_filter},
    {"items", items_filter},
    {"tojson", to_json_filter},
});

}  // namespace

std::span<const FilterEntry> conversion_filters() {
  return kFilters;
}

}  // namespace quern::jinja
