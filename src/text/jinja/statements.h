// SPDX-License-Identifier: Apache-2.0
// The kinds of statements.
#pragma once

#include "text/jinja/expressions.h"

namespace quern::jinja {

struct Scope;

class TextStmt final : public Stmt {
 public:
  explicit TextStmt(std::string text) : text_(std::move(text)) {}

 private:
  Flow run(Interpreter& in) const override;
  std::string text_;
};

class PrintStmt final : public Stmt {
 public:
  explicit PrintStmt(ExprPtr value) : value_(std::move(value)) {}

 private:
  Flow run(Interpreter& in) const override;
  ExprPtr value_;
};

class IfStmt final : public Stmt {
 public:
  struct Branch {
    ExprPtr condition;  // null: else
    Body body;
  };
  explicit IfStmt(std::vector<Branch> branches) : branches_(std::move(branches)) {}

 private:
  Flow run(Interpreter& in) const override;
  std::vector<Branch> branches_;
};

class ForStmt final : public Stmt {
 public:
  struct Parts {
    Target target;
    ExprPtr iterable;
    ExprPtr condition;  // null: every element
    Body body, otherwise;
    bool is_recursive = false;
    NameId loop = 0;
  };
  explicit ForStmt(Parts parts) : parts_(std::move(parts)) {}
  bool is_recursive() const { return parts_.is_recursive; }
  bool has_condition() const { return parts_.condition != nullptr; }
  // Runs over `iterable`, which stands `depth` loops deep in a recursive loop.
  Flow iterate_over(Interpreter& in, const Value& iterable, int depth) const;
  // Whether the condition holds for `item`, read in the scope around the loop.
  bool selects(Interpreter& in, const std::shared_ptr<Scope>& outer, const Value& item) const;

 private:
  Flow run(Interpreter& in) const override;
  Parts parts_;
};

class LoopControlStmt final : public Stmt {
 public:
  explicit LoopControlStmt(Flow flow) : flow_(flow) {}

 private:
  Flow run(Interpreter&) const override { return flow_; }
  Flow flow_;
};

class SetStmt final : public Stmt {
 public:
  SetStmt(Target target, ExprPtr value) : target_(std::move(target)), value_(std::move(value)) {}

 private:
  Flow run(Interpreter& in) const override;
  Target target_;
  ExprPtr value_;
};

// {% set x %}…{% endset %}: `value` is the captured text, through filters where there are some.
class SetBlockStmt final : public Stmt {
 public:
  SetBlockStmt(Target target, ExprPtr value, Body body)
      : target_(std::move(target)), value_(std::move(value)), body_(std::move(body)) {}

 private:
  Flow run(Interpreter& in) const override;
  Target target_;
  ExprPtr value_;
  Body body_;
};

class FilterBlockStmt final : public Stmt {
 public:
  FilterBlockStmt(ExprPtr value, Body body) : value_(std::move(value)), body_(std::move(body)) {}

 private:
  Flow run(Interpreter& in) const override;
  ExprPtr value_;
  Body body_;
};

class WithStmt final : public Stmt {
 public:
  WithStmt(std::vector<Target> targets, std::vector<ExprPtr> values, Body body)
      : targets_(std::move(targets)), values_(std::move(values)), body_(std::move(body)) {}

 private:
  Flow run(Interpreter& in) const override;
  std::vector<Target> targets_;
  std::vector<ExprPtr> values_;
  Body body_;
};

// What a macro and a call block have in common: parameters with defaults, and a body that becomes
// text.
struct MacroParts {
  struct Parameter {
    NameId name;
    ExprPtr otherwise;  // null: undefined when not given
  };
  std::string name;
  std::vector<Parameter> parameters;
  Body body;
  NameId caller = 0, varargs = 0, kwargs = 0;
  // Only a macro that reads them takes more arguments than it names.
  bool takes_caller = false, takes_varargs = false, takes_kwargs = false;
};

class MacroStmt final : public Stmt {
 public:
  MacroStmt(NameId name, MacroParts parts) : name_(name), parts_(std::move(parts)) {}

 private:
  Flow run(Interpreter& in) const override;
  NameId name_;
  MacroParts parts_;
};

class CallBlockStmt final : public Stmt {
 public:
  CallBlockStmt(std::unique_ptr<const CallExpr> call, MacroParts parts)
      : call_(std::move(call)), parts_(std::move(parts)) {}

 private:
  Flow run(Interpreter& in) const override;
  std::unique_ptr<const CallExpr> call_;
  MacroParts parts_;
};

// {% generation %}: its text as it is, in a scope of its own.
class GenerationStmt final : public Stmt {
 public:
  explicit GenerationStmt(Body body) : body_(std::move(body)) {}

 private:
  Flow run(Interpreter& in) const override;
  Body body_;
};

}  // namespace quern::jinja
