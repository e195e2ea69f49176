// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/objects.h"

#include "base/error.h"
#include "text/jinja/budget.h"
#include "text/jinja/operators.h"
#include "text/jinja/repr.h"
#include "text/tokenizer/utf8.h"

namespace quern::jinja {
namespace {

std::shared_ptr<const Sequence> shared_sequence(std::vector<Value> items) {
  return Value::list(std::move(items)).sequence();
}

std::vector<Value> characters(std::string_view text) {
  Budget::charge(static_cast<int64_t>(text.size()));
  std::vector<Value> out;
  for (size_t at = 0, length = 0; at < text.size(); at += length) {
    utf8_at(text, at, length);
    out.push_back(Value::string(std::string(text.substr(at, length))));
  }
  return out;
}

std::vector<Value> dict_part(const Dict& dict, DictView::Part part) {
  Budget::charge(static_cast<int64_t>(dict.size()));
  std::vector<Value> out;
  for (const auto& [key, value] : dict.entries()) {
    switch (part) {
      case DictView::Part::keys:
        out.push_back(key);
        break;
      case DictView::Part::values:
        out.push_back(value);
        break;
      case DictView::Part::items:
        out.push_back(Value::tuple({key, value}));
        break;
    }
  }
  return out;
}

}  // namespace

void Object::append_repr(std::string& out) const {
  out += format("<{} object>", type_name());
}

Value Object::call(Interpreter&, Arguments) {
  fail(ErrorCode::invalid_argument, "'{}' object is not callable", type_name());
}

std::shared_ptr<const Sequence> try_iterate(const Value& v) {
  switch (v.kind()) {
    case Value::Kind::undefined:
      return shared_sequence({});
    case Value::Kind::string:
      return shared_sequence(characters(v.as_string()));
    case Value::Kind::list:
    case Value::Kind::tuple:
      return v.sequence();
    case Value::Kind::dict:
      return shared_sequence(dict_part(v.as_dict(), DictView::Part::keys));
    case Value::Kind::object:
      return v.as_object().iterate();
    default:
      return nullptr;
  }
}

std::shared_ptr<const Sequence> iterate(const Value& v) {
  auto sequence = try_iterate(v);
  if (!sequence) fail(ErrorCode::invalid_argument, "'{}' object is not iterable", v.type_name());
  return sequence;
}

size_t length_of(const Value& v) {
  switch (v.kind()) {
    case Value::Kind::undefined:
      return 0;
    case Value::Kind::string: {
      size_t count = 0;
      for (const char c : v.as_string()) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
      return count;
    }
    case Value::Kind::list:
    case Value::Kind::tuple:
      return v.items().size();
    case Value::Kind::dict:
      return v.as_dict().size();
    case Value::Kind::object:
      if (const auto length = v.as_object().length()) return *length;
      [[fallthrough]];
    default:
      fail(ErrorCode::invalid_argument, "object of type '{}' has no len()", v.type_name());
  }
}

bool is_callable(const Value& v) {
  return v.is(Value::Kind::object) && v.as_object().is_callable();
}

void Function::append_repr(std::string& out) const {
  out += format("<function {}>", name_);
}

void Range::append_repr(std::string& out) const {
  out += format("range({}, {}", start_, stop_);
  out += step_ == 1 ? ")" : format(", {})", step_);
}

std::optional<Value> Range::item(const Value& key) {
  if (!key.is_integral()) return std::nullopt;
  const Int i = key.as_integer() < 0 ? key.as_integer() + count_ : key.as_integer();
  if (i < 0 || i >= count_) return std::nullopt;
  return Value::integer(at(i));
}

std::shared_ptr<const Sequence> Range::iterate() {
  Budget::charge(static_cast<int64_t>(count_));
  std::vector<Value> items;
  items.reserve(static_cast<size_t>(count_));
  for (Int i = 0; i < count_; ++i) items.push_back(Value::integer(at(i)));
  return shared_sequence(std::move(items));
}

bool Range::equals(const Object& other) const {
  const auto* range = dynamic_cast<const Range*>(&other);
  if (!range || range->count_ != count_) return false;
  return count_ == 0 || (range->start_ == start_ && (count_ == 1 || range->step_ == step_));
}

std::string_view DictView::type_name() const {
  return part_ == Part::keys ? "dict_keys" : part_ == Part::values ? "dict_values" : "dict_items";
}

void DictView::append_repr(std::string& out) const {
  out += format("{}(", type_name());
  jinja::append_repr(Value::list(dict_part(*dict_, part_)), out);
  out += ')';
}

std::shared_ptr<const Sequence> DictView::iterate() {
  return shared_sequence(dict_part(*dict_, part_));
}

Iterator::Iterator(std::vector<Value> items, std::exception_ptr error, std::string_view type)
    : items_(shared_sequence(std::move(items))), error_(std::move(error)), type_(type) {}

std::shared_ptr<const Sequence> Iterator::iterate() {
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  auto rest = std::exchange(items_, nullptr);
  if (!rest) return shared_sequence({});
  if (at_ == 0) return rest;
  return shared_sequence(std::vector<Value>(rest->items.begin() + static_cast<std::ptrdiff_t>(at_),
                                            rest->items.end()));
}

std::optional<Value> Iterator::next() {
  if (items_ && at_ < items_->items.size()) return items_->items[at_++];
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  return std::nullopt;
}

void Group::append_repr(std::string& out) const {
  jinja::append_repr(pair_, out);
}

std::optional<Value> Group::attribute(std::string_view name) {
  if (name == "grouper") return pair_.items()[0];
  if (name == "list") return pair_.items()[1];
  return std::nullopt;
}

std::optional<Value> Group::item(const Value& key) {
  if (!key.is_integral()) return std::nullopt;
  const Int i = key.as_integer() < 0 ? key.as_integer() + 2 : key.as_integer();
  return i == 0 || i == 1 ? std::optional(pair_.items()[static_cast<size_t>(i)]) : std::nullopt;
}

void Namespace::set(std::string_view name, Value value) {
  if (name.starts_with('_')) {
    fail(ErrorCode::invalid_argument,
         "a namespace cannot store '{}': names with a leading underscore are refused",
         name);
  }
  attributes_.set(name, std::move(value));
}

void Namespace::append_repr(std::string& out) const {
  out += "<Namespace ";
  jinja::append_repr(Value::dict(attributes_), out);
  out += '>';
}

std::optional<Value> Namespace::attribute(std::string_view name) {
  const Value* found = attributes_.find(name);
  return found ? std::optional(*found) : std::nullopt;
}

std::optional<Value> Cycler::attribute(std::string_view name) {
  if (name == "current") return current();
  const auto method = [&](Method m) {
    return Value::object(std::make_shared<BoundMethod>(Value::object(shared_from_this()), m));
  };
  if (name == "next") {
    return method([](Interpreter&, const Value& self, const Arguments&) {
      return self.object_as<Cycler>()->next();
    });
  }
  if (name == "reset") {
    return method([](Interpreter&, const Value& self, const Arguments&) {
      self.object_as<Cycler>()->reset();
      return Value::none();
    });
  }
  return std::nullopt;
}

Value Cycler::next() {
  Value now = current();
  at_ = (at_ + 1) % items_.items().size();
  return now;
}

Value Joiner::call(Interpreter&, Arguments) {
  return std::exchange(is_used_, true) ? separator_ : Value::string("");
}

}  // namespace quern::jinja
