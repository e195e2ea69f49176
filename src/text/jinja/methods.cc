// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/methods.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/jinja/budget.h"
#include "text/jinja/operators.h"

namespace quern::jinja {
namespace {

Value dict_view(const Value& self, const Arguments& a, DictView::Part part) {
  const Bound bound("a view of a dict", a, {});
  return Value::object(std::make_shared<DictView>(self.dict_ref(), part));
}

Value dict_keys(Interpreter&, const Value& self, const Arguments& a) {
  return dict_view(self, a, DictView::Part::keys);
}
Value dict_values(Interpreter&, const Value& self, const Arguments& a) {
  return dict_view(self, a, DictView::Part::values);
}
Value dict_items(Interpreter&, const Value& self, const Arguments& a) {
  return dict_view(self, a, DictView::Part::items);
}

Value dict_get(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("get", a, {"key", "default"}, 1);
  if (const Value* found = self.as_dict().find(bound.at(0))) return *found;
  return bound[1] ? *bound[1] : Value::none();
}

Value copied(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("copy", a, {});
  return self;  // nothing can change either of the two
}

Value items_count(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("count", a, {"value"}, 1);
  const auto& items = self.items();
  return Value::integer(std::count_if(
      items.begin(), items.end(), [&](const Value& v) { return equals(v, bound.at(0)); }));
}

Value items_index(Interpreter&, const Value& self, const Arguments& a) {
  const Bound bound("index", a, {"value", "start", "stop"}, 1);
  const Int size = static_cast<Int>(self.items().size());
  const auto place = [&](size_t i, Int otherwise) {
    const Int at = bound.integer(i, otherwise);
    return at < 0 ? std::max<Int>(at + size, 0) : std::min(at, size);
  };
  for (Int i = place(1, 0); i < place(2, size); ++i) {
    if (equals(self.items()[static_cast<size_t>(i)], bound.at(0))) return Value::integer(i);
  }
  fail(ErrorCode::invalid_argument, "index: the value is not in the list");
}

constexpr std::array kDictMethods = std::to_array<MethodEntry>({{"items", dict_items},
                                                                {"keys", dict_keys},
                                                                {"values", dict_values},
                                                                {"get", dict_get},
                                                                {"copy", copied}});
constexpr std::array kListMethods =
    std::to_array<MethodEntry>({{"count", items_count}, {"index", items_index}, {"copy", copied}});
constexpr std::array kTupleMethods =
    std::to_array<MethodEntry>({{"count", items_count}, {"index", items_index}});

template <typename Names>
bool has(const Names& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

std::span<const MethodEntry> container_methods(const Value& object) {
  if (object.is_dict()) return kDictMethods;
  if (object.is(Value::Kind::list)) return kListMethods;
  if (object.is(Value::Kind::tuple)) return kTupleMethods;
  return {};
}

Method find_method(const Value& object, std::string_view name) {
  const auto in = [&](std::span<const MethodEntry> group) -> Method {
    for (const auto& [known, method] : group) {
      if (known == name) return method;
    }
    return nullptr;
  };
  if (!object.is_string()) return in(container_methods(object));
  const Method method = in(text_methods());
  return method ? method : in(text_search_methods());
}

bool is_mutating_method(const Value& object, std::string_view name) {
  using namespace std::string_view_literals;
  constexpr std::array kOfLists = {
      "append"sv, "clear"sv, "pop"sv, "reverse"sv, "insert"sv, "sort"sv, "extend"sv, "remove"sv};
  constexpr std::array kOfDicts = {"clear"sv, "pop"sv, "popitem"sv, "setdefault"sv, "update"sv};
  if (object.is(Value::Kind::list)) return has(kOfLists, name);
  return object.is_dict() && has(kOfDicts, name);
}

bool is_python_attribute(std::string_view name) {
  using namespace std::string_view_literals;
  constexpr std::array kOfAll = {
      "__class__"sv,   "__delattr__"sv, "__dir__"sv,           "__doc__"sv,         "__eq__"sv,
      "__format__"sv,  "__ge__"sv,      "__getattribute__"sv,  "__getstate__"sv,    "__gt__"sv,
      "__hash__"sv,    "__init__"sv,    "__init_subclass__"sv, "__le__"sv,          "__lt__"sv,
      "__ne__"sv,      "__new__"sv,     "__reduce__"sv,        "__reduce_ex__"sv,   "__repr__"sv,
      "__setattr__"sv, "__sizeof__"sv,  "__str__"sv,           "__subclasshook__"sv};
  return has(kOfAll, name);
}

}  // namespace quern::jinja
