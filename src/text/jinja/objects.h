// SPDX-License-Identifier: Apache-2.0
// The objects that templates meet: built-in functions, bound methods, ranges, views of
// dictionaries, iterators, namespaces, cyclers, joiners. Macros and loops stand beside the
// statements that make them.
#pragma once

#include <exception>
#include <functional>

#include "text/jinja/arguments.h"
#include "text/jinja/object.h"

namespace quern::jinja {

// The elements of anything that can be iterated (text gives its characters, a dict its keys); null
// for what cannot. Iterators are used up. Needs no interpreter: nothing that iterates runs template
// code.
std::shared_ptr<const Sequence> try_iterate(const Value& v);
// The same, throwing invalid_argument for what cannot be iterated.
std::shared_ptr<const Sequence> iterate(const Value& v);
// len(); throws for what has none.
size_t length_of(const Value& v);
bool is_callable(const Value& v);

class Function final : public Object {
 public:
  using Body = std::function<Value(Interpreter&, const Arguments&)>;
  Function(std::string name, Body body) : name_(std::move(name)), body_(std::move(body)) {}
  std::string_view type_name() const override { return "function"; }
  void append_repr(std::string& out) const override;
  bool is_callable() const override { return true; }
  Value call(Interpreter& in, Arguments arguments) override { return body_(in, arguments); }

 private:
  std::string name_;
  Body body_;
};

using Method = Value (*)(Interpreter&, const Value& self, const Arguments&);

class BoundMethod final : public Object {
 public:
  BoundMethod(Value self, Method method) : self_(std::move(self)), method_(method) {}
  std::string_view type_name() const override { return "builtin_function_or_method"; }
  bool is_callable() const override { return true; }
  Value call(Interpreter& in, Arguments arguments) override {
    return method_(in, self_, arguments);
  }
  int depth() const override { return self_.depth(); }

 private:
  Value self_;
  Method method_;
};

class Range final : public Object {
 public:
  // `count` elements from `start` on; `stop` is what the maker named as the end.
  Range(Int start, Int stop, Int step, Int count)
      : start_(start), stop_(stop), step_(step), count_(count) {}
  Int count() const { return count_; }
  Int step() const { return step_; }
  Int at(Int i) const { return start_ + i * step_; }

  std::string_view type_name() const override { return "range"; }
  void append_repr(std::string& out) const override;
  std::optional<Value> item(const Value& key) override;
  std::shared_ptr<const Sequence> iterate() override;
  bool is_iterable() const override { return true; }
  std::optional<size_t> length() const override { return static_cast<size_t>(count_); }
  bool equals(const Object& other) const override;

 private:
  Int start_, stop_, step_, count_;
};

class DictView final : public Object {
 public:
  enum class Part { keys, values, items };
  DictView(std::shared_ptr<const Dict> dict, Part part) : dict_(std::move(dict)), part_(part) {}
  std::string_view type_name() const override;
  void append_repr(std::string& out) const override;
  std::shared_ptr<const Sequence> iterate() override;
  bool is_iterable() const override { return true; }
  std::optional<size_t> length() const override { return dict_->size(); }
  int depth() const override { return dict_->depth(); }

 private:
  std::shared_ptr<const Dict> dict_;
  Part part_;
};

// What lazy filters give: it can be walked through once, has no length, and is true. The elements
// are computed at once; an error on the way is kept for the one who comes that far, as if they were
// not.
class Iterator final : public Object {
 public:
  explicit Iterator(std::vector<Value> items,
                    std::exception_ptr error = nullptr,
                    std::string_view type = "generator");
  std::string_view type_name() const override { return type_; }
  std::shared_ptr<const Sequence> iterate() override;
  std::optional<Value> next();  // nothing at the end
  bool is_iterable() const override { return true; }
  int depth() const override { return items_ ? items_->depth : 0; }

 private:
  std::shared_ptr<const Sequence> items_;
  size_t at_ = 0;
  std::exception_ptr error_;
  std::string_view type_;
};

// A pair (grouper, list) of groupby, whose parts have names too.
class Group final : public Object {
 public:
  Group(Value grouper, Value list) : pair_(Value::tuple({std::move(grouper), std::move(list)})) {}
  std::string_view type_name() const override { return "_GroupTuple"; }
  void append_repr(std::string& out) const override;
  std::optional<Value> attribute(std::string_view name) override;
  std::optional<Value> item(const Value& key) override;
  std::shared_ptr<const Sequence> iterate() override { return pair_.sequence(); }
  bool is_iterable() const override { return true; }
  std::optional<size_t> length() const override { return 2; }
  int depth() const override { return pair_.depth(); }

 private:
  Value pair_;
};

class Namespace final : public Object {
 public:
  explicit Namespace(Dict attributes) : attributes_(std::move(attributes)) {}
  void set(std::string_view name, Value value);
  std::string_view type_name() const override { return "Namespace"; }
  void append_repr(std::string& out) const override;
  std::optional<Value> attribute(std::string_view name) override;
  void release() override { attributes_ = Dict(); }

 private:
  Dict attributes_;
};

class Cycler final : public Object {
 public:
  explicit Cycler(std::vector<Value> items) : items_(Value::list(std::move(items))) {}
  std::string_view type_name() const override { return "Cycler"; }
  std::optional<Value> attribute(std::string_view name) override;
  int depth() const override { return items_.depth(); }
  const Value& current() const { return items_.items()[at_]; }
  Value next();
  void reset() { at_ = 0; }

 private:
  Value items_;
  size_t at_ = 0;
};

class Joiner final : public Object {
 public:
  explicit Joiner(Value separator) : separator_(std::move(separator)) {}
  std::string_view type_name() const override { return "Joiner"; }
  bool is_callable() const override { return true; }
  Value call(Interpreter& in, Arguments arguments) override;
  int depth() const override { return separator_.depth(); }

 private:
  Value separator_;
  bool is_used_ = false;
};

}  // namespace quern::jinja
