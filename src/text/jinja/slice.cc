// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/error.h"
#include "text/jinja/budget.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"

namespace quern::jinja {
namespace {

// Where a slice begins, and how many elements it takes: Python's slice.indices().
struct Span {
  Int start, stop, step, count;
};

Span resolve(const Slice& bounds, Int size) {
  const auto given = [](const Value& v, Int otherwise) {
    return v.is_none() ? otherwise : require_index(v, "slice indices");
  };
  const Int step = given(bounds.step, 1);
  if (step == 0) fail(ErrorCode::invalid_argument, "slice step cannot be zero");
  const Int low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
  const auto place = [&](const Value& v, Int otherwise) {
    const Int index = given(v, otherwise);
    if (v.is_none()) return index;
    if (index >= 0) return std::min(index, high);
    return index < -size ? low : std::max(index + size, low);
  };
  const Int start = place(bounds.start, step > 0 ? low : high);
  const Int stop = place(bounds.stop, step > 0 ? high : low);
  const Int distance = step > 0 ? stop - start : start - stop;
  if (distance <= 0) return {start, stop, step, 0};
  // One element is enough where the step is longer than the text; this also keeps the steps from
  // overflowing.
  if (step > size || step < -size) return {start, stop, 1, 1};
  const Int stride = step > 0 ? step : -step;
  return {start, stop, step, (distance + stride - 1) / stride};
}

template <typename Items>
Items taken(const Items& items, const Span& span) {
  Items out;
  out.reserve(static_cast<size_t>(span.count));
  for (Int i = 0; i < span.count; ++i)
    out.push_back(items[static_cast<size_t>(span.start + i * span.step)]);
  return out;
}

Value slice_text(const Value& text, const Slice& bounds) {
  const std::string& bytes = text.as_string();
  Budget::charge_bytes(bytes.size());
  if (is_ascii(bytes)) {
    return Value::string(taken(bytes, resolve(bounds, static_cast<Int>(bytes.size()))),
                         text.is_markup());
  }
  const std::u32string points = decode_utf8(bytes);
  return Value::string(encode_utf8(taken(points, resolve(bounds, static_cast<Int>(points.size())))),
                       text.is_markup());
}

}  // namespace

Value slice(const Value& container, const Slice& bounds) {
  require_defined(container);
  if (container.is_string()) return slice_text(container, bounds);
  if (const auto* range = container.object_as<Range>()) {
    const Span span = resolve(bounds, range->count());
    return Value::object(std::make_shared<Range>(
        range->at(span.start), range->at(span.stop), range->step() * span.step, span.count));
  }
  if (!container.is_list_or_tuple()) {
    fail(ErrorCode::invalid_argument, "'{}' cannot be sliced", container.type_name());
  }
  const auto& items = container.items();
  const Span span = resolve(bounds, static_cast<Int>(items.size()));
  Budget::charge(static_cast<int64_t>(span.count));
  std::vector<Value> out = taken(items, span);
  return container.is(Value::Kind::list) ? Value::list(std::move(out))
                                         : Value::tuple(std::move(out));
}

}  // namespace quern::jinja
