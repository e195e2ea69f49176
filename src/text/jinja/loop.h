// SPDX-License-Identifier: Apache-2.0
// The variable `loop` of a for statement.
#pragma once

#include "text/jinja/interpreter.h"
#include "text/jinja/statements.h"

namespace quern::jinja {

class Loop final : public Object {
 public:
  struct Source {
    std::shared_ptr<const Sequence> items;
    const ForStmt& statement;
    std::shared_ptr<Scope> outer;  // where the statement stands
    int depth = 0;                 // loops around this one, in a recursive loop
  };
  Loop(Interpreter& in, Source source) : in_(in), source_(std::move(source)) {}

  // Goes on to the next element; false at the end. With a condition, elements are tested only when
  // they are asked for, so that the body may change what the condition reads.
  bool advance();
  const Value& current() const { return item(index_); }

  std::string_view type_name() const override { return "LoopContext"; }
  void append_repr(std::string& out) const override;
  std::optional<Value> attribute(std::string_view name) override;
  bool is_callable() const override { return true; }
  Value call(Interpreter& in, Arguments arguments) override;
  std::optional<size_t> length() const override { return count(); }
  int depth() const override { return source_.items->depth; }
  void release() override;

 private:
  bool has(size_t index) const;
  size_t count() const;
  const Value& item(size_t index) const;
  Value method(std::string_view name);
  bool changed(const Value& now);
  Value cycle(const Arguments& arguments) const;

  Interpreter& in_;
  Source source_;
  size_t index_ = SIZE_MAX;            // before the first element
  mutable std::vector<Value> chosen_;  // with a condition: the elements found so far
  mutable size_t tested_ = 0;
  std::optional<Value> last_changed_;
};

}  // namespace quern::jinja
