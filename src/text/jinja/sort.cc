// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/sort.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja/access.h"
#include "text/jinja/budget.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"

namespace quern::jinja {
namespace {

using Keyed = std::pair<Value, Value>;  // key, element

// Stable in both directions, as Python's sort is.
void sort_by_key(std::vector<Keyed>& items, bool is_reversed) {
  Budget::charge(static_cast<int64_t>(items.size()));
  const auto before = [](const Keyed& a, const Keyed& b) { return is_less(a.first, b.first); };
  if (is_reversed) std::reverse(items.begin(), items.end());
  std::stable_sort(items.begin(), items.end(), before);
  if (is_reversed) std::reverse(items.begin(), items.end());
}

std::vector<Value> elements(std::vector<Keyed> items) {
  std::vector<Value> out;
  out.reserve(items.size());
  for (Keyed& item : items) out.push_back(std::move(item.second));
  return out;
}

// "a,b.c" names several attributes.
std::vector<SortKey> split_keys(const Value& path, bool is_case_sensitive) {
  if (!path.is_string()) return {{path, is_case_sensitive}};
  std::vector<SortKey> keys;
  std::string_view rest = path.as_string();
  for (;;) {
    const size_t comma = rest.find(',');
    keys.push_back({Value::string(std::string(rest.substr(0, comma))), is_case_sensitive});
    if (comma == std::string_view::npos) return keys;
    rest = rest.substr(comma + 1);
  }
}

}  // namespace

Value SortKey::of(const Value& item) const {
  Value key = get_path(item, path);
  return key.is_string() && !is_case_sensitive ? Value::string(to_lower(key.as_string())) : key;
}

Value sort_filter(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("sort", a, {"reverse", "case_sensitive", "attribute"});
  const auto keys = split_keys(bound[2] ? *bound[2] : Value::none(), bound.flag(1, false));
  std::vector<Keyed> items;
  const auto sequence = iterate(v);
  for (const Value& item : sequence->items) {
    std::vector<Value> key;
    for (const SortKey& part : keys) key.push_back(part.of(item));
    items.emplace_back(Value::list(std::move(key)), item);
  }
  sort_by_key(items, bound.flag(0, false));
  return Value::list(elements(std::move(items)));
}

Value dictsort_filter(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("dictsort", a, {"case_sensitive", "by", "reverse"});
  const std::string by = bound.text(1, "key");
  if (by != "key" && by != "value")
    fail(ErrorCode::invalid_argument, "dictsort: by must be \"key\" or \"value\"");
  require_defined(v);
  if (!v.is_dict())
    fail(ErrorCode::invalid_argument, "dictsort: expected a mapping, got {}", v.type_name());
  const SortKey key{Value::none(), bound.flag(0, false)};
  std::vector<Keyed> items;
  for (const auto& [name, value] : v.as_dict().entries()) {
    items.emplace_back(key.of(by == "key" ? name : value), Value::tuple({name, value}));
  }
  sort_by_key(items, bound.flag(2, false));
  return Value::list(elements(std::move(items)));
}

Value groupby_filter(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("groupby", a, {"attribute", "default", "case_sensitive"}, 1);
  const bool is_case_sensitive = bound.flag(2, false);
  const auto key_of = [&](const Value& item) { return get_path(item, bound.at(0), bound[1]); };
  std::vector<Keyed> items;
  const auto sequence = iterate(v);
  for (const Value& item : sequence->items) {
    Value key = key_of(item);
    if (key.is_string() && !is_case_sensitive) key = Value::string(to_lower(key.as_string()));
    items.emplace_back(std::move(key), item);
  }
  sort_by_key(items, false);
  std::vector<Value> groups;
  for (size_t at = 0; at < items.size();) {
    std::vector<Value> group;
    const size_t begin = at;
    for (; at < items.size() && equals(items[begin].first, items[at].first); ++at)
      group.push_back(items[at].second);
    if (at == begin)
      ++at, group.push_back(items[begin].second);  // NaN equals nothing, not even itself
    Value name = key_of(group.front());            // the key as the first element spells it
    groups.push_back(
        Value::object(std::make_shared<Group>(std::move(name), Value::list(std::move(group)))));
  }
  return Value::list(std::move(groups));
}

}  // namespace quern::jinja
