// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/expressions.h"

#include "base/error.h"
#include "text/jinja/access.h"
#include "text/jinja/budget.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"
#include "text/jinja/repr.h"

namespace quern::jinja {
namespace {

Value bound_or_none(const ExprPtr& bound, Interpreter& in) {
  return bound ? bound->evaluate(in) : Value::none();
}

std::vector<Value> evaluate_all(const std::vector<ExprPtr>& items, Interpreter& in) {
  std::vector<Value> out;
  out.reserve(items.size());
  for (const ExprPtr& item : items) out.push_back(item->evaluate(in));
  return out;
}

}  // namespace

Value Expr::evaluate(Interpreter& in) const {
  Budget::charge(1);
  const Nesting level;
  return compute(in);
}

Arguments CallArgs::evaluate(Interpreter& in) const {
  Arguments out;
  out.positional = evaluate_all(positional, in);
  for (const auto& [name, value] : named) out.named.emplace_back(name, value->evaluate(in));
  if (all_positional) {
    const auto more = iterate(all_positional->evaluate(in));
    Budget::charge(static_cast<int64_t>(more->items.size()));
    out.positional.insert(out.positional.end(), more->items.begin(), more->items.end());
  }
  if (all_named) {
    const Value more = all_named->evaluate(in);
    if (!more.is_dict()) {
      fail(ErrorCode::invalid_argument,
           "argument after ** must be a mapping, not {}",
           more.type_name());
    }
    for (const auto& [key, value] : more.as_dict().entries()) {
      if (!key.is_string()) fail(ErrorCode::invalid_argument, "keywords must be strings");
      for (const auto& [name, _] : out.named) {
        if (name == key.as_string())
          fail(ErrorCode::invalid_argument, "got multiple values for keyword argument '{}'", name);
      }
      out.named.emplace_back(key.as_string(), value);
    }
  }
  return out;
}

Value Name::compute(Interpreter& in) const {
  return in.lookup(id_);
}

Value ItemsExpr::compute(Interpreter& in) const {
  std::vector<Value> items = evaluate_all(items_, in);
  return is_list_ ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

Value DictExpr::compute(Interpreter& in) const {
  Dict dict;
  for (size_t i = 0; i < keys_.size(); ++i) {
    Value key = keys_[i]->evaluate(in);
    dict.set(std::move(key), values_[i]->evaluate(in));
  }
  return Value::dict(std::move(dict));
}

Value Binary::compute(Interpreter& in) const {
  const Value left = left_->evaluate(in);
  return op_(left, right_->evaluate(in));
}

Value Logical::compute(Interpreter& in) const {
  Value left = left_->evaluate(in);
  return is_true(left) == is_and_ ? right_->evaluate(in) : left;
}

Value Concat::compute(Interpreter& in) const {
  std::string out;
  for (const ExprPtr& part : parts_) {
    const Value v = part->evaluate(in);
    if (v.is_string()) Budget::charge_bytes(out.size() + v.as_string().size());
    append_str(v, out);
  }
  return Value::string(std::move(out));
}

Value Compare::compute(Interpreter& in) const {
  Value left = first_->evaluate(in);
  for (size_t i = 0; i < operators_.size(); ++i) {
    Value right = others_[i]->evaluate(in);
    if (!operators_[i](left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value AttributeExpr::compute(Interpreter& in) const {
  return get_attribute(object_->evaluate(in), name_);
}

Value ItemExpr::compute(Interpreter& in) const {
  const Value object = object_->evaluate(in);
  return get_item(object, key_->evaluate(in));
}

Value SliceExpr::compute(Interpreter& in) const {
  const Value object = object_->evaluate(in);
  const Slice bounds{bound_or_none(start_, in), bound_or_none(stop_, in), bound_or_none(step_, in)};
  return slice(object, bounds);
}

Value Conditional::compute(Interpreter& in) const {
  if (is_true(condition_->evaluate(in))) return yes_->evaluate(in);
  if (no_) return no_->evaluate(in);
  return Value::undefined(
      "the inline if-expression evaluated to false and no else section was defined");
}

Value CallExpr::compute(Interpreter& in) const {
  const Value callee = callee_->evaluate(in);
  return call_value(in, callee, arguments_.evaluate(in));
}

Value CallExpr::call_with(Interpreter& in, Value caller) const {
  const Value callee = callee_->evaluate(in);
  Arguments arguments = arguments_.evaluate(in);
  arguments.named.emplace_back("caller", std::move(caller));
  return call_value(in, callee, std::move(arguments));
}

Value FilterExpr::compute(Interpreter& in) const {
  if (!filter_) fail(ErrorCode::invalid_argument, "there is no filter named '{}'", name_);
  const Value subject = subject_->evaluate(in);
  return filter_(in, subject, arguments_.evaluate(in));
}

Value TestExpr::compute(Interpreter& in) const {
  if (!test_) fail(ErrorCode::invalid_argument, "there is no test named '{}'", name_);
  const Value subject = subject_->evaluate(in);
  return Value::boolean(test_(in, subject, arguments_.evaluate(in)));
}

Value Captured::compute(Interpreter& in) const {
  return in.captured();
}

}  // namespace quern::jinja
