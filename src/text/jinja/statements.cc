// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/statements.h"

#include "text/jinja/budget.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/loop.h"
#include "text/jinja/macro.h"
#include "text/jinja/objects.h"
#include "text/jinja/operators.h"

namespace quern::jinja {

Flow Stmt::execute(Interpreter& in) const {
  Budget::charge(1);
  const Nesting level;
  in.line = line;
  return run(in);
}

Flow TextStmt::run(Interpreter& in) const {
  in.write(std::string_view(text_));
  return Flow::normal;
}

Flow PrintStmt::run(Interpreter& in) const {
  in.write(value_->evaluate(in));
  return Flow::normal;
}

Flow IfStmt::run(Interpreter& in) const {
  for (const Branch& branch : branches_) {
    if (!branch.condition || is_true(branch.condition->evaluate(in)))
      return in.execute(branch.body);
  }
  return Flow::normal;
}

Flow ForStmt::run(Interpreter& in) const {
  return iterate_over(in, parts_.iterable->evaluate(in), 0);
}

bool ForStmt::selects(Interpreter& in,
                      const std::shared_ptr<Scope>& outer,
                      const Value& item) const {
  const Interpreter::Frame frame(in, outer);
  in.assign(parts_.target, item);
  return is_true(parts_.condition->evaluate(in));
}

Flow ForStmt::iterate_over(Interpreter& in, const Value& iterable, int depth) const {
  const auto loop =
      std::make_shared<Loop>(in, Loop::Source{iterate(iterable), *this, in.scope(), depth});
  if (parts_.is_recursive) in.adopt(loop);
  bool has_finished_turn = false;
  while (loop->advance()) {
    const Interpreter::Frame frame(in);
    in.assign(parts_.target, loop->current());
    in.assign(parts_.loop, Value::object(loop));
    const Flow flow = in.execute(parts_.body);
    if (flow == Flow::break_loop) break;
    // As in jinja2, a turn that ends in continue or break does not count: the else part still runs.
    has_finished_turn |= flow == Flow::normal;
  }
  if (has_finished_turn || parts_.otherwise.empty()) return Flow::normal;
  const Interpreter::Frame frame(in);
  return in.execute(parts_.otherwise);
}

Flow SetStmt::run(Interpreter& in) const {
  in.assign(target_, value_->evaluate(in));
  return Flow::normal;
}

Flow SetBlockStmt::run(Interpreter& in) const {
  Flow flow = Flow::normal;
  Value value;
  {
    const Interpreter::Frame frame(in);
    in.set_captured(in.capture(body_, flow));
    if (flow != Flow::normal) return flow;
    value = value_->evaluate(in);
  }
  in.assign(target_, std::move(value));
  return flow;
}

Flow FilterBlockStmt::run(Interpreter& in) const {
  const Interpreter::Frame frame(in);
  Flow flow = Flow::normal;
  in.set_captured(in.capture(body_, flow));
  if (flow == Flow::normal) in.write(value_->evaluate(in));
  return flow;
}

Flow WithStmt::run(Interpreter& in) const {
  std::vector<Value> values;
  for (const ExprPtr& value : values_) values.push_back(value->evaluate(in));
  const Interpreter::Frame frame(in);
  for (size_t i = 0; i < targets_.size(); ++i) in.assign(targets_[i], std::move(values[i]));
  return in.execute(body_);
}

Flow MacroStmt::run(Interpreter& in) const {
  in.assign(name_, in.adopt(std::make_shared<Macro>(parts_, in.scope())));
  return Flow::normal;
}

Flow CallBlockStmt::run(Interpreter& in) const {
  const Value caller = in.adopt(std::make_shared<Macro>(parts_, in.scope()));
  in.write(call_->call_with(in, caller));
  return Flow::normal;
}

Flow GenerationStmt::run(Interpreter& in) const {
  const Interpreter::Frame frame(in);
  return in.execute(body_);
}

}  // namespace quern::jinja
