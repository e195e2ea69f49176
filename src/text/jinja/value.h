// SPDX-License-Identifier: Apache-2.0
// The values that a template computes with: Python's, without mutation. A Value is small and shares
// what it points to.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace quern::jinja {

class Dict;
class Object;
class Value;

// Python's integers have no bound; 128 bits hold what templates count, and what does not fit is an
// error.
using Int = __int128;

struct Text {
  std::string bytes;       // valid UTF-8
  bool is_markup = false;  // escaped for HTML already: the escape filter leaves it alone
};

struct Sequence {
  std::vector<Value> items;
  int depth = 1;  // levels of containers below, this one included
};

struct Undefined {
  std::shared_ptr<const std::string> reason;  // what an operation on it reports
};

class Value {
 public:
  // In the order of the alternatives of Storage.
  enum class Kind { undefined, none, boolean, integer, real, string, list, tuple, dict, object };

  Value();  // undefined, without a reason
  // Out of line: dozens of places copy values, and inlining eight kinds of storage everywhere makes
  // the room slow to build.
  Value(const Value&);
  Value(Value&&) noexcept;
  Value& operator=(const Value&);
  Value& operator=(Value&&) noexcept;
  ~Value();
  static Value undefined(std::string reason);
  static Value none();
  static Value boolean(bool b);
  static Value integer(Int i);
  static Value real(double d);
  static Value string(std::string bytes, bool is_markup = false);
  // Containers nest at most kMaxNesting deep, else exhausted: they are printed, compared and freed
  // by recursion.
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items);
  static Value dict(Dict dict);
  static Value object(std::shared_ptr<Object> object);

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is(Kind k) const { return kind() == k; }
  bool is_undefined() const { return is(Kind::undefined); }
  bool is_none() const { return is(Kind::none); }
  bool is_string() const { return is(Kind::string); }
  bool is_dict() const { return is(Kind::dict); }
  bool is_list_or_tuple() const { return is(Kind::list) || is(Kind::tuple); }
  bool is_markup() const { return is_string() && std::get<TextRef>(data_)->is_markup; }
  // Booleans count as integers, as in Python.
  bool is_integral() const { return is(Kind::integer) || is(Kind::boolean); }
  bool is_number() const { return is_integral() || is(Kind::real); }

  // Each needs the kind that it names.
  const std::string& reason() const;
  bool as_boolean() const { return std::get<bool>(data_); }
  Int as_integer() const;  // of an integer or a boolean
  double as_real() const;  // of any number
  const std::string& as_string() const { return std::get<TextRef>(data_)->bytes; }
  const std::vector<Value>& items() const { return sequence()->items; }
  const std::shared_ptr<const Sequence>& sequence() const;  // of a list or a tuple
  const Dict& as_dict() const { return *std::get<DictRef>(data_); }
  const std::shared_ptr<const Dict>& dict_ref() const { return std::get<DictRef>(data_); }
  Object& as_object() const { return *std::get<ObjectRef>(data_); }
  template <typename T>  // null if this is another kind of object
  T* object_as() const {
    return is(Kind::object) ? dynamic_cast<T*>(&as_object()) : nullptr;
  }

  int depth() const;
  // Python's `is`: the same object, or equal scalars of one kind.
  bool is_same(const Value& other) const;
  // Python's name of the type: "str", "NoneType", …
  std::string_view type_name() const;

 private:
  struct None {};
  using TextRef = std::shared_ptr<const Text>;
  struct ListRef {
    std::shared_ptr<const Sequence> sequence;
  };
  struct TupleRef {
    std::shared_ptr<const Sequence> sequence;
  };
  using DictRef = std::shared_ptr<const Dict>;
  using ObjectRef = std::shared_ptr<Object>;
  using Storage = std::
      variant<Undefined, None, bool, Int, double, TextRef, ListRef, TupleRef, DictRef, ObjectRef>;

  explicit Value(Storage data);

  Storage data_;
};

inline constexpr int kMaxNesting = 400;

// An insertion-ordered dictionary with Python's equality of keys (1 == 1.0 == True).
class Dict {
 public:
  using Entry = std::pair<Value, Value>;

  // Replaces the value of an equal key. A key that Python cannot hash is invalid_argument.
  void set(Value key, Value value);
  void set(std::string_view key, Value value) {
    set(Value::string(std::string(key)), std::move(value));
  }
  // Null where there is none.
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;

  const std::vector<Entry>& entries() const { return entries_; }
  size_t size() const { return entries_.size(); }
  int depth() const { return depth_; }

 private:
  template <typename Match>
  const Entry* find_entry(size_t hash, Match match) const;

  std::vector<Entry> entries_;
  std::vector<size_t> hashes_;   // of the keys, in step with entries_
  std::vector<uint32_t> slots_;  // open addressing, index + 1; empty while there are few entries
  int depth_ = 1;
};

}  // namespace quern::jinja
