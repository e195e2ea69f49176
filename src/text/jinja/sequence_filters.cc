// SPDX-License-Identifier: Apache-2.0
// Filters on sequences as a whole.
#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/jinja/access.h"
#include "text/jinja/budget.h"
#include "text/jinja/filters.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"
#include "text/jinja/repr.h"
#include "text/jinja/sort.h"

namespace quern::jinja {
namespace {

Value iterator_of(std::vector<Value> items, std::string_view type = "generator") {
  return Value::object(std::make_shared<Iterator>(std::move(items), nullptr, type));
}

Value list_filter(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("list", a, {});
  const auto items = iterate(v);
  Budget::charge(static_cast<int64_t>(items->items.size()));
  return Value::list(items->items);
}

Value first(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("first", a, {});
  if (auto* iterator = v.object_as<Iterator>()) {
    const auto next = iterator->next();
    return next ? *next : Value::undefined("No first item, sequence was empty.");
  }
  const auto items = iterate(v);
  return items->items.empty() ? Value::undefined("No first item, sequence was empty.")
                              : items->items.front();
}

void require_reversible(const Value& v) {
  require_defined(v);
  if (v.object_as<Iterator>() || !try_iterate(v)) {
    fail(ErrorCode::invalid_argument, "'{}' object is not reversible", v.type_name());
  }
}

Value last(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("last", a, {});
  require_reversible(v);
  const auto items = iterate(v);
  return items->items.empty() ? Value::undefined("No last item, sequence was empty.")
                              : items->items.back();
}

Value reverse(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("reverse", a, {});
  if (v.is_string()) return slice(v, {Value::none(), Value::none(), Value::integer(-1)});
  require_defined(v);
  std::vector<Value> items = iterate(v)->items;
  Budget::charge(static_cast<int64_t>(items.size()));
  std::reverse(items.begin(), items.end());
  return v.object_as<Iterator>() ? Value::list(std::move(items))
                                 : iterator_of(std::move(items), "reversed");
}

Value join(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("join", a, {"d", "attribute"});
  const std::string separator = bound.text(0, bound[0] ? "None" : "");
  const Value path = bound[1] ? *bound[1] : Value::none();
  std::string out;
  const auto items = iterate(v);
  for (size_t i = 0; i < items->items.size(); ++i) {
    if (i > 0) out += separator;
    const size_t before = out.size();
    append_str(get_path(items->items[i], path), out);
    Budget::charge(1 + static_cast<int64_t>((separator.size() + out.size() - before) / 32));
  }
  Budget::charge_bytes(out.size());
  return Value::string(std::move(out));
}

Value sum(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("sum", a, {"attribute", "start"});
  Value total = bound[1] ? *bound[1] : Value::integer(0);
  if (total.is_string()) fail(ErrorCode::invalid_argument, "sum: can't sum strings, use join");
  const Value path = bound[0] ? *bound[0] : Value::none();
  const auto sequence = iterate(v);
  for (const Value& item : sequence->items) total = add(total, get_path(item, path));
  return total;
}

template <bool wants_most>
Value extreme(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound(wants_most ? "max" : "min", a, {"case_sensitive", "attribute"});
  const SortKey key{bound[1] ? *bound[1] : Value::none(), bound.flag(0, false)};
  const auto items = iterate(v);
  if (items->items.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  const Value* best = &items->items.front();
  Value best_key = key.of(*best);
  for (const Value& item : items->items) {
    if (&item == &items->items.front()) continue;
    Value other = key.of(item);
    if (wants_most ? is_less(best_key, other, ">") : is_less(other, best_key))
      best = &item, best_key = std::move(other);
  }
  return *best;
}

Value batch(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("batch", a, {"linecount", "fill_with"}, 1);
  const Int size = require_index(bound.at(0), "batch");
  std::vector<Value> rows, row;
  const auto sequence = iterate(v);
  for (const Value& item : sequence->items) {
    if (static_cast<Int>(row.size()) == size) rows.push_back(Value::list(std::exchange(row, {})));
    row.push_back(item);
  }
  if (!row.empty()) {
    if (bound[1] && !bound[1]->is_none()) {
      Budget::charge(static_cast<int64_t>(std::clamp<Int>(size, 0, INT32_MAX)));
      while (static_cast<Int>(row.size()) < size) row.push_back(*bound[1]);
    }
    rows.push_back(Value::list(std::move(row)));
  }
  return iterator_of(std::move(rows));
}

Value slice_filter(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("slice", a, {"slices", "fill_with"}, 1);
  const Int slices = require_index(bound.at(0), "slice");
  if (slices == 0) fail(ErrorCode::invalid_argument, "slice: division by zero");
  Budget::charge(static_cast<int64_t>(std::clamp<Int>(slices, 0, INT32_MAX)));
  const auto items = iterate(v);
  const Int size = static_cast<Int>(items->items.size());
  std::vector<Value> columns;
  Int at = 0;
  for (Int i = 0; i < slices; ++i) {
    const bool has_extra = i < size % slices;
    const Int count = size / slices + has_extra;
    std::vector<Value> column(items->items.begin() + static_cast<std::ptrdiff_t>(at),
                              items->items.begin() + static_cast<std::ptrdiff_t>(at + count));
    if (bound[1] && !bound[1]->is_none() && !has_extra) column.push_back(*bound[1]);
    columns.push_back(Value::list(std::move(column)));
    at += count;
  }
  return iterator_of(std::move(columns));
}

constexpr std::array kFilters = std::to_array<FilterEntry>({
    {"list", list_filter},
    {"first", first},
    {"last", last},
    {"reverse", reverse},
    {"join", join},
    {"sum", sum},
    {"min", extreme<false>},
    {"max", extreme<true>},
    {"batch", batch},
    {"slice", slice_filter},
    {"sort", sort_filter},
    {"dictsort", dictsort_filter},
    {"groupby", groupby_filter},
});

}  // namespace

std::span<const FilterEntry> sequence_filters() {
  return kFilters;
}

}  // namespace quern::jinja
