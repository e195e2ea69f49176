// SPDX-License-Identifier: Apache-2.0
// A compiled template: expressions that compute values, statements that write text. Nodes are
// immutable after parsing.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/arguments.h"
#include "text/jinja/value.h"

namespace quern::jinja {

class Interpreter;

using NameId = uint32_t;  // index into Program::names

class Expr {
 public:
  virtual ~Expr() = default;
  Value evaluate(Interpreter& in) const;  // counts a step and a level of recursion
  int depth = 1;                          // levels of expressions below, this one included

 protected:
  virtual Value compute(Interpreter& in) const = 0;
};

using ExprPtr = std::unique_ptr<const Expr>;

enum class Flow { normal, break_loop, continue_loop };

class Stmt {
 public:
  virtual ~Stmt() = default;
  Flow execute(Interpreter& in) const;  // counts a step and a level, notes the line for messages
  int line = 1;

 protected:
  virtual Flow run(Interpreter& in) const = 0;
};

using Body = std::vector<std::unique_ptr<const Stmt>>;

struct Program {
  Body body;
  std::vector<std::string> names;
  std::set<std::string, std::less<>> reads;  // names that some expression reads
};

// The arguments of a call as they are written, with *args and **kwargs.
struct CallArgs {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr all_positional;
  ExprPtr all_named;

  Arguments evaluate(Interpreter& in) const;
};

// What can stand left of "=": a name, an attribute of a namespace, or several of them.
struct Target {
  enum class Kind { name, attribute, tuple };
  Kind kind = Kind::name;
  NameId name = 0;
  std::string attribute;
  std::vector<Target> parts;
};

using Filter = Value (*)(Interpreter&, const Value& subject, const Arguments&);
using Test = bool (*)(Interpreter&, const Value& subject, const Arguments&);

}  // namespace quern::jinja
