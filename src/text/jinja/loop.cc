// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/loop.h"

#include "base/error.h"
#include "text/jinja/budget.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"

namespace quern::jinja {

bool Loop::has(size_t index) const {
  const auto& items = source_.items->items;
  if (!source_.statement.has_condition()) return index < items.size();
  while (chosen_.size() <= index && tested_ < items.size()) {
    const Value& candidate = items[tested_++];
    if (source_.statement.selects(in_, source_.outer, candidate)) chosen_.push_back(candidate);
  }
  return index < chosen_.size();
}

size_t Loop::count() const {
  if (!source_.statement.has_condition()) return source_.items->items.size();
  has(SIZE_MAX - 1);
  return chosen_.size();
}

const Value& Loop::item(size_t index) const {
  return source_.statement.has_condition() ? chosen_[index] : source_.items->items[index];
}

bool Loop::advance() {
  Budget::charge(1);
  ++index_;
  return has(index_);
}

void Loop::append_repr(std::string& out) const {
  out += format("<LoopContext {}/{}>", index_ + 1, count());
}

std::optional<Value> Loop::attribute(std::string_view name) {
  const auto number = [](size_t n) { return Value::integer(static_cast<Int>(n)); };
  if (name == "index") return number(index_ + 1);
  if (name == "index0") return number(index_);
  if (name == "first") return Value::boolean(index_ == 0);
  if (name == "last") return Value::boolean(!has(index_ + 1));
  if (name == "length") return number(count());
  if (name == "revindex") return number(count() - index_);
  if (name == "revindex0") return number(count() - index_ - 1);
  if (name == "depth") return Value::integer(source_.depth + 1);
  if (name == "depth0") return Value::integer(source_.depth);
  if (name == "previtem")
    return index_ == 0 ? Value::undefined("there is no previous item") : item(index_ - 1);
  if (name == "nextitem")
    return has(index_ + 1) ? item(index_ + 1) : Value::undefined("there is no next item");
  if (name == "cycle" || name == "changed") return method(name);
  return std::nullopt;
}

Value Loop::method(std::string_view name) {
  const Value self = Value::object(shared_from_this());
  if (name == "cycle") {
    return Value::object(std::make_shared<BoundMethod>(
        self, [](Interpreter&, const Value& loop, const Arguments& a) {
          return loop.object_as<Loop>()->cycle(a);
        }));
  }
  return Value::object(
      std::make_shared<BoundMethod>(self, [](Interpreter&, const Value& loop, const Arguments& a) {
        return Value::boolean(loop.object_as<Loop>()->changed(Value::tuple(a.positional)));
      }));
}

Value Loop::cycle(const Arguments& arguments) const {
  if (arguments.positional.empty())
    fail(ErrorCode::invalid_argument, "loop.cycle: no items for cycling given");
  return arguments.positional[index_ % arguments.positional.size()];
}

bool Loop::changed(const Value& now) {
  if (last_changed_ && jinja::equals(*last_changed_, now)) return false;
  if (!last_changed_) in_.adopt(shared_from_this());
  last_changed_ = now;
  return true;
}

Value Loop::call(Interpreter& in, Arguments arguments) {
  if (!source_.statement.is_recursive()) {
    fail(ErrorCode::invalid_argument,
         "the loop must have the 'recursive' marker to be called recursively");
  }
  const Bound bound("loop", arguments, {"iterable"}, 1);
  const Nesting level;
  const Interpreter::Frame frame(in, source_.outer);
  return in.capture([&] { source_.statement.iterate_over(in, bound.at(0), source_.depth + 1); });
}

void Loop::release() {
  last_changed_.reset();
  source_.outer = nullptr;
}

}  // namespace quern::jinja
