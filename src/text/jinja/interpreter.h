// SPDX-License-Identifier: Apache-2.0
// The state of one rendering: scopes, output, the variables it was given.
#pragma once

#include <string>
#include <vector>

#include "base/function_ref.h"
#include "base/json.h"
#include "text/jinja/ast.h"
#include "text/jinja/chat_template.h"
#include "text/jinja/object.h"

namespace quern::jinja {

// Names that one block of the template has set. Macros keep the scopes around their definition.
struct Scope {
  std::shared_ptr<Scope> outer;
  std::vector<std::pair<NameId, Value>> names;
};

class Interpreter {
 public:
  // `variables` and `program` must outlive it.
  Interpreter(const Program& program,
              const Json& variables,
              int64_t now_unix_s,
              size_t max_output_bytes);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  std::string render();
  int64_t now_unix_s() const { return now_unix_s_; }

  int line = 1;  // of the statement that runs, for messages

  // Scopes.
  const std::string& name_of(NameId name) const { return program_.names[name]; }
  Value lookup(NameId name);
  void assign(NameId name, Value value);  // in the innermost scope
  void assign(const Target& target,
              Value value);  // unpacks; throws for a wrong count or a foreign attribute
  const std::shared_ptr<Scope>& scope() const { return scope_; }
  // Opens a scope inside `outer` for as long as it lives.
  class Frame {
   public:
    Frame(Interpreter& in, std::shared_ptr<Scope> outer);
    explicit Frame(Interpreter& in) : Frame(in, in.scope_) {}
    ~Frame();
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;

   private:
    Interpreter& in_;
    std::shared_ptr<Scope> saved_;
  };

  // Output.
  void write(const Value& v);
  void write(std::string_view text);
  Flow execute(const Body& body);
  // Runs `action` and gives what it wrote instead of writing it.
  Value capture(FunctionRef<void()> action);
  // The same for `body`; `flow` becomes how it ended.
  Value capture(const Body& body, Flow& flow);
  // What the innermost block has captured, while its filters run.
  const Value& captured() const { return captured_; }
  void set_captured(Value v) { captured_ = std::move(v); }

  // Remembers an object that may lie on a cycle of references.
  Value adopt(std::shared_ptr<Object> object);

 private:
  const Value* given(NameId name);

  const Program& program_;
  const Json& variables_;
  int64_t now_unix_s_;
  size_t max_output_bytes_;
  std::shared_ptr<Scope> scope_ = std::make_shared<Scope>();
  std::vector<std::optional<Value>>
      given_;  // variables and built-in functions, by name, once they were looked up
  std::vector<std::shared_ptr<Object>> adopted_;
  std::string output_;
  Value captured_;
};

// JSON as the values of a template; objects become dictionaries. Text that is not valid UTF-8 gets
// U+FFFD in its place.
Value from_json(const Json& json);

// The function of this name that every template sees (range, namespace, strftime_now, …); undefined
// where there is none.
Value builtin_function(std::string_view name);

}  // namespace quern::jinja
