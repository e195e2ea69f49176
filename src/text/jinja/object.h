// SPDX-License-Identifier: Apache-2.0
// Values with behaviour of their own: functions, macros, namespaces, loops, iterators. Derived
// classes stand in objects.h.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "text/jinja/arguments.h"
#include "text/jinja/value.h"

namespace quern::jinja {

class Object : public std::enable_shared_from_this<Object> {
 public:
  virtual ~Object() = default;
  virtual std::string_view type_name() const = 0;
  virtual void append_repr(std::string& out) const;

  // Nothing where the object has none.
  virtual std::optional<Value> attribute(std::string_view) { return std::nullopt; }
  virtual std::optional<Value> item(const Value&) { return std::nullopt; }

  virtual bool is_callable() const { return false; }
  virtual Value call(Interpreter& in, Arguments arguments);

  // Null where the object cannot be iterated. An iterator is used up by it.
  virtual std::shared_ptr<const Sequence> iterate() { return nullptr; }
  virtual bool is_iterable() const { return false; }
  virtual std::optional<size_t> length() const { return std::nullopt; }
  virtual bool equals(const Object& other) const { return this == &other; }

  // Levels of containers inside, for objects whose contents never change.
  virtual int depth() const { return 0; }
  // Objects whose contents change can lie on a cycle of references; the interpreter calls this when
  // it ends.
  virtual void release() {}
};

}  // namespace quern::jinja
