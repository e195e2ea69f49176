// SPDX-License-Identifier: Apache-2.0
// A macro as a value: its body, and the scopes around its definition.
#pragma once

#include "text/jinja/interpreter.h"
#include "text/jinja/statements.h"

namespace quern::jinja {

class Macro final : public Object {
 public:
  Macro(const MacroParts& parts, std::shared_ptr<Scope> closure)
      : parts_(parts), closure_(std::move(closure)) {}
  std::string_view type_name() const override { return "Macro"; }
  void append_repr(std::string& out) const override;
  std::optional<Value> attribute(std::string_view name) override;
  bool is_callable() const override { return true; }
  Value call(Interpreter& in, Arguments arguments) override;
  void release() override { closure_ = nullptr; }

 private:
  void bind(Interpreter& in, Arguments& arguments) const;
  void bind_rest(Interpreter& in, Arguments& arguments) const;

  const MacroParts& parts_;
  std::shared_ptr<Scope> closure_;
};

}  // namespace quern::jinja
