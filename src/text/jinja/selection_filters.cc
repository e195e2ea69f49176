// SPDX-License-Identifier: Apache-2.0
// Filters that map and choose the elements of a sequence. They give iterators; see Iterator for how
// errors wait in them.
#include <array>

#include "base/error.h"
#include "text/jinja/access.h"
#include "text/jinja/budget.h"
#include "text/jinja/filters.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"
#include "text/jinja/repr.h"
#include "text/jinja/tests.h"

namespace quern::jinja {
namespace {

// Runs `step` for every element; what it throws waits in the iterator, unless a limit is reached.
template <typename Step>
Value lazily(const Value& source, Step step) {
  std::vector<Value> out;
  std::exception_ptr error;
  try {
    if (is_true(source)) {
      const auto sequence = iterate(source);
      for (const Value& item : sequence->items) {
        Budget::charge(1);
        step(item, out);
      }
    }
  } catch (const Error& e) {
    if (e.code() == ErrorCode::exhausted) throw;
    error = std::current_exception();
  }
  return Value::object(std::make_shared<Iterator>(std::move(out), std::move(error)));
}

Arguments rest_of(const Arguments& a, size_t from) {
  Arguments rest;
  rest.named = a.named;
  rest.positional.assign(a.positional.begin() + static_cast<std::ptrdiff_t>(from),
                         a.positional.end());
  return rest;
}

Value map_attribute(const Value& v, const Arguments& a) {
  const Value *path = nullptr, *otherwise = nullptr;
  for (const auto& [name, value] : a.named) {
    if (name == "attribute")
      path = &value;
    else if (name == "default")
      otherwise = &value;
    else
      fail(ErrorCode::invalid_argument, "map: unexpected keyword argument '{}'", name);
  }
  return lazily(v, [&](const Value& item, std::vector<Value>& out) {
    out.push_back(get_path(item, *path, otherwise));
  });
}

Value map_filter(Interpreter& in, const Value& v, const Arguments& a) {
  bool has_attribute = false;
  for (const auto& [name, _] : a.named) has_attribute |= name == "attribute";
  if (a.positional.empty() && has_attribute) return map_attribute(v, a);
  return lazily(v, [&](const Value& item, std::vector<Value>& out) {
    if (a.positional.empty()) fail(ErrorCode::invalid_argument, "map requires a filter argument");
    const std::string name = to_str(a.positional[0]);
    const Filter filter = find_filter(name);
    if (!filter) fail(ErrorCode::invalid_argument, "there is no filter named '{}'", name);
    const Nesting level;
    out.push_back(filter(in, item, rest_of(a, 1)));
  });
}

// select, reject, selectattr, rejectattr: by a test of the element or of an attribute; without a
// test by its truth.
template <bool keeps, bool by_attribute>
Value choose(Interpreter& in, const Value& v, const Arguments& a) {
  constexpr size_t kTestAt = by_attribute ? 1 : 0;
  return lazily(v, [&](const Value& item, std::vector<Value>& out) {
    if (a.positional.size() < kTestAt)
      fail(ErrorCode::invalid_argument, "missing parameter for attribute name");
    const Value subject = by_attribute ? get_path(item, a.positional[0]) : item;
    bool holds = false;
    if (a.positional.size() > kTestAt) {
      const std::string name = to_str(a.positional[kTestAt]);
      const Test test = find_test(name);
      if (!test) fail(ErrorCode::invalid_argument, "there is no test named '{}'", name);
      holds = test(in, subject, rest_of(a, kTestAt + 1));
    } else {
      holds = is_true(subject);
    }
    if (holds == keeps) out.push_back(item);
  });
}

Value unique(Interpreter&, const Value& v, const Arguments& a) {
  const Bound bound("unique", a, {"case_sensitive", "attribute"});
  const Value path = bound[1] ? *bound[1] : Value::none();
  Dict seen;
  const auto items = iterate(v);
  return lazily(Value::list(items->items), [&](const Value& item, std::vector<Value>& out) {
    Value key = get_path(item, path);
    if (key.is_string() && !bound.flag(0, false)) key = Value::string(to_lower(key.as_string()));
    if (seen.find(key)) return;
    seen.set(std::move(key), Value::none());
    out.push_back(item);
  });
}

constexpr std::array kFilters = std::to_array<FilterEntry>({
    {"map", map_filter},
    {"select", choose<true, false>},
    {"reject", choose<false, false>},
    {"selectattr", choose<true, true>},
    {"rejectattr", choose<false, true>},
    {"unique", unique},
});

}  // namespace

std::span<const FilterEntry> selection_filters() {
  return kFilters;
}

}  // namespace quern::jinja
