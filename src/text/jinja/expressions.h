// SPDX-License-Identifier: Apache-2.0
// The kinds of expressions.
#pragma once

#include "text/jinja/ast.h"

namespace quern::jinja {

class Literal final : public Expr {
 public:
  explicit Literal(Value value) : value_(std::move(value)) {}

 private:
  Value compute(Interpreter&) const override { return value_; }
  Value value_;
};

class Name final : public Expr {
 public:
  explicit Name(NameId id) : id_(id) {}

 private:
  Value compute(Interpreter& in) const override;
  NameId id_;
};

// [a, b], (a, b)
class ItemsExpr final : public Expr {
 public:
  ItemsExpr(bool is_list, std::vector<ExprPtr> items)
      : is_list_(is_list), items_(std::move(items)) {}

 private:
  Value compute(Interpreter& in) const override;
  bool is_list_;
  std::vector<ExprPtr> items_;
};

class DictExpr final : public Expr {
 public:
  DictExpr(std::vector<ExprPtr> keys, std::vector<ExprPtr> values)
      : keys_(std::move(keys)), values_(std::move(values)) {}

 private:
  Value compute(Interpreter& in) const override;
  std::vector<ExprPtr> keys_, values_;
};

class Unary final : public Expr {
 public:
  using Operator = Value (*)(const Value&);
  Unary(Operator op, ExprPtr operand) : op_(op), operand_(std::move(operand)) {}

 private:
  Value compute(Interpreter& in) const override { return op_(operand_->evaluate(in)); }
  Operator op_;
  ExprPtr operand_;
};

class Binary final : public Expr {
 public:
  using Operator = Value (*)(const Value&, const Value&);
  Binary(Operator op, ExprPtr left, ExprPtr right)
      : op_(op), left_(std::move(left)), right_(std::move(right)) {}

 private:
  Value compute(Interpreter& in) const override;
  Operator op_;
  ExprPtr left_, right_;
};

// a and b, a or b: the operand that decides, not a boolean.
class Logical final : public Expr {
 public:
  Logical(bool is_and, ExprPtr left, ExprPtr right)
      : is_and_(is_and), left_(std::move(left)), right_(std::move(right)) {}

 private:
  Value compute(Interpreter& in) const override;
  bool is_and_;
  ExprPtr left_, right_;
};

// a ~ b ~ c
class Concat final : public Expr {
 public:
  explicit Concat(std::vector<ExprPtr> parts) : parts_(std::move(parts)) {}

 private:
  Value compute(Interpreter& in) const override;
  std::vector<ExprPtr> parts_;
};

// a < b <= c: true where every neighbouring pair holds.
class Compare final : public Expr {
 public:
  using Operator = bool (*)(const Value&, const Value&);
  Compare(ExprPtr first, std::vector<Operator> operators, std::vector<ExprPtr> others)
      : first_(std::move(first)), operators_(std::move(operators)), others_(std::move(others)) {}

 private:
  Value compute(Interpreter& in) const override;
  ExprPtr first_;
  std::vector<Operator> operators_;
  std::vector<ExprPtr> others_;
};

class AttributeExpr final : public Expr {
 public:
  AttributeExpr(ExprPtr object, std::string name)
      : object_(std::move(object)), name_(std::move(name)) {}

 private:
  Value compute(Interpreter& in) const override;
  ExprPtr object_;
  std::string name_;
};

class ItemExpr final : public Expr {
 public:
  ItemExpr(ExprPtr object, ExprPtr key) : object_(std::move(object)), key_(std::move(key)) {}

 private:
  Value compute(Interpreter& in) const override;
  ExprPtr object_, key_;
};

// object[start:stop:step]; absent bounds are null.
class SliceExpr final : public Expr {
 public:
  SliceExpr(ExprPtr object, ExprPtr start, ExprPtr stop, ExprPtr step)
      : object_(std::move(object)),
        start_(std::move(start)),
        stop_(std::move(stop)),
        step_(std::move(step)) {}

 private:
  Value compute(Interpreter& in) const override;
  ExprPtr object_, start_, stop_, step_;
};

// yes if condition else no; without else: undefined.
class Conditional final : public Expr {
 public:
  Conditional(ExprPtr condition, ExprPtr yes, ExprPtr no)
      : condition_(std::move(condition)), yes_(std::move(yes)), no_(std::move(no)) {}

 private:
  Value compute(Interpreter& in) const override;
  ExprPtr condition_, yes_, no_;
};

class CallExpr final : public Expr {
 public:
  CallExpr(ExprPtr callee, CallArgs arguments)
      : callee_(std::move(callee)), arguments_(std::move(arguments)) {}
  // With one more named argument: the caller of a call block.
  Value call_with(Interpreter& in, Value caller) const;

 private:
  Value compute(Interpreter& in) const override;
  ExprPtr callee_;
  CallArgs arguments_;
};

class FilterExpr final : public Expr {
 public:
  // Without a subject it filters the text that its block wrote. A null filter is unknown and fails
  // when it is reached.
  FilterExpr(ExprPtr subject, std::string name, Filter filter, CallArgs arguments)
      : subject_(std::move(subject)),
        name_(std::move(name)),
        filter_(filter),
        arguments_(std::move(arguments)) {}

 private:
  Value compute(Interpreter& in) const override;
  ExprPtr subject_;
  std::string name_;
  Filter filter_;
  CallArgs arguments_;
};

class TestExpr final : public Expr {
 public:
  TestExpr(ExprPtr subject, std::string name, Test test, CallArgs arguments)
      : subject_(std::move(subject)),
        name_(std::move(name)),
        test_(test),
        arguments_(std::move(arguments)) {}

 private:
  Value compute(Interpreter& in) const override;
  ExprPtr subject_;
  std::string name_;
  Test test_;
  CallArgs arguments_;
};

// The text that a filter block or a set block has captured.
class Captured final : public Expr {
  Value compute(Interpreter& in) const override;
};

}  // namespace quern::jinja
