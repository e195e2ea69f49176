// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/error.h"
#include "text/jinja/object.h"
#include "text/jinja/operators.h"

namespace quern::jinja {
namespace {

constexpr size_t kFewEntries = 8;

std::shared_ptr<const Sequence> make_sequence(std::vector<Value> items) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  if (depth >= kMaxNesting) {
    fail(ErrorCode::exhausted, "a container nests more than {} levels deep", kMaxNesting);
  }
  return std::make_shared<const Sequence>(Sequence{std::move(items), depth + 1});
}

size_t hash_number(const Value& v) {
  const double d = v.as_real();  // equal numbers of different kinds convert to the same double
  return std::hash<double>{}(d == 0 ? 0.0 : d);
}

// Tuples inside tuples hash by their size alone, so that shared parts are not walked again and
// again.
size_t hash_of(const Value& v, bool is_inside_tuple = false) {
  switch (v.kind()) {
    case Value::Kind::string:
      return std::hash<std::string_view>{}(v.as_string());
    case Value::Kind::boolean:
    case Value::Kind::integer:
    case Value::Kind::real:
      return hash_number(v);
    case Value::Kind::tuple: {
      size_t h = v.items().size();
      if (is_inside_tuple) return h;
      for (const Value& item : v.items()) h = h * 1000003 ^ hash_of(item, true);
      return h;
    }
    case Value::Kind::list:
    case Value::Kind::dict:
      fail(ErrorCode::invalid_argument, "unhashable type: '{}'", v.type_name());
    case Value::Kind::object:
      return std::hash<const void*>{}(&v.as_object());
    default:
      return static_cast<size_t>(v.kind());
  }
}

}  // namespace

Value::Value() = default;
Value::Value(Storage data) : data_(std::move(data)) {}
Value::Value(const Value&) = default;
Value::Value(Value&&) noexcept = default;
Value& Value::operator=(const Value&) = default;
Value& Value::operator=(Value&&) noexcept = default;
Value::~Value() = default;

Value Value::none() {
  return Value(Storage(None{}));
}
Value Value::boolean(bool b) {
  return Value(Storage(b));
}
Value Value::integer(Int i) {
  return Value(Storage(i));
}
Value Value::real(double d) {
  return Value(Storage(d));
}

Value Value::undefined(std::string reason) {
  return Value(Storage(Undefined{std::make_shared<const std::string>(std::move(reason))}));
}

Value Value::string(std::string bytes, bool is_markup) {
  return Value(Storage(std::make_shared<const Text>(Text{std::move(bytes), is_markup})));
}

Value Value::list(std::vector<Value> items) {
  return Value(Storage(ListRef{make_sequence(std::move(items))}));
}

Value Value::tuple(std::vector<Value> items) {
  return Value(Storage(TupleRef{make_sequence(std::move(items))}));
}

Value Value::dict(Dict dict) {
  if (dict.depth() > kMaxNesting) {
    fail(ErrorCode::exhausted, "a container nests more than {} levels deep", kMaxNesting);
  }
  return Value(Storage(std::make_shared<const Dict>(std::move(dict))));
}

Value Value::object(std::shared_ptr<Object> object) {
  return Value(Storage(std::move(object)));
}

const std::string& Value::reason() const {
  static const std::string kUnknown = "a value is undefined";
  const Undefined& u = std::get<Undefined>(data_);
  return u.reason ? *u.reason : kUnknown;
}

Int Value::as_integer() const {
  return is(Kind::boolean) ? Int{as_boolean()} : std::get<Int>(data_);
}

double Value::as_real() const {
  return is(Kind::real) ? std::get<double>(data_) : static_cast<double>(as_integer());
}

const std::shared_ptr<const Sequence>& Value::sequence() const {
  return is(Kind::list) ? std::get<ListRef>(data_).sequence : std::get<TupleRef>(data_).sequence;
}

int Value::depth() const {
  switch (kind()) {
    case Kind::list:
    case Kind::tuple:
      return sequence()->depth;
    case Kind::dict:
      return as_dict().depth();
    case Kind::object:
      return as_object().depth();
    default:
      return 0;
  }
}

bool Value::is_same(const Value& other) const {
  if (kind() != other.kind()) return false;
  switch (kind()) {
    case Kind::undefined:
      return std::get<Undefined>(data_).reason == std::get<Undefined>(other.data_).reason;
    case Kind::list:
    case Kind::tuple:
      return sequence() == other.sequence();
    case Kind::dict:
      return dict_ref() == other.dict_ref();
    case Kind::object:
      return &as_object() == &other.as_object();
    default:
      return equals(*this, other);
  }
}

std::string_view Value::type_name() const {
  switch (kind()) {
    case Kind::undefined:
      return "Undefined";
    case Kind::none:
      return "NoneType";
    case Kind::boolean:
      return "bool";
    case Kind::integer:
      return "int";
    case Kind::real:
      return "float";
    case Kind::string:
      return is_markup() ? "Markup" : "str";
    case Kind::list:
      return "list";
    case Kind::tuple:
      return "tuple";
    case Kind::dict:
      return "dict";
    case Kind::object:
      return as_object().type_name();
  }
  return "object";
}

template <typename Match>
const Dict::Entry* Dict::find_entry(size_t hash, Match match) const {
  if (slots_.empty()) {
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (hashes_[i] == hash && match(entries_[i].first)) return &entries_[i];
    }
    return nullptr;
  }
  for (size_t at = hash & (slots_.size() - 1); slots_[at] != 0;
       at = (at + 1) & (slots_.size() - 1)) {
    const size_t i = slots_[at] - 1;
    if (hashes_[i] == hash && match(entries_[i].first)) return &entries_[i];
  }
  return nullptr;
}

void Dict::set(Value key, Value value) {
  depth_ = std::max({depth_, key.depth() + 1, value.depth() + 1});
  const size_t hash = hash_of(key);
  if (const Entry* found = find_entry(hash, [&](const Value& k) { return equals(k, key); })) {
    entries_[static_cast<size_t>(found - entries_.data())].second = std::move(value);
    return;
  }
  entries_.emplace_back(std::move(key), std::move(value));
  hashes_.push_back(hash);
  if (entries_.size() <= kFewEntries) return;
  const auto put = [&](size_t i) {
    size_t at = hashes_[i] & (slots_.size() - 1);
    while (slots_[at] != 0) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = static_cast<uint32_t>(i + 1);
  };
  if (slots_.size() >= entries_.size() * 2) return put(entries_.size() - 1);
  slots_.assign(std::max<size_t>(32, slots_.size() * 2), 0);
  for (size_t i = 0; i < entries_.size(); ++i) put(i);
}

const Value* Dict::find(const Value& key) const {
  const Entry* found = find_entry(hash_of(key), [&](const Value& k) { return equals(k, key); });
  return found ? &found->second : nullptr;
}

const Value* Dict::find(std::string_view key) const {
  const Entry* found = find_entry(std::hash<std::string_view>{}(key), [&](const Value& k) {
    return k.is_string() && k.as_string() == key;
  });
  return found ? &found->second : nullptr;
}

}  // namespace quern::jinja
