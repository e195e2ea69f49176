// SPDX-License-Identifier: Apache-2.0
// ChatTemplate: a compiled Jinja template as chat models carry it; renders as jinja2 does with
// trim_blocks, lstrip_blocks, loop controls, and the functions that transformers adds: tojson,
// raise_exception, strftime_now, {% generation %}.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"

namespace quern {

struct TemplateLimits {
  size_t max_output_bytes = size_t{16} << 20;
  int64_t max_steps = 20'000'000;  // evaluated nodes and loop turns
  int max_depth = 200;             // nested blocks, calls, expressions
};

class ChatTemplate {
 public:
  // Throws invalid_argument with line and reason for a template that cannot be compiled,
  // unsupported for a feature outside the subset (named).
  explicit ChatTemplate(std::string_view source, const TemplateLimits& limits = {});
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // `variables` is an object: messages, tools, add_generation_prompt, bos_token, … Absent ones are
  // undefined. `now_unix_s` is what strftime_now shows (UTC). Throws invalid_argument for what
  // raise_exception says or an operation on wrong types, exhausted where a limit is reached. Safe
  // from several threads at once.
  std::string render(const Json& variables, int64_t now_unix_s) const;

  // Whether the source reads this variable anywhere ("tools", "enable_thinking").
  bool mentions(std::string_view variable) const;
  // The text that it was compiled from.
  const std::string& source() const;

 private:
  struct State;
  std::unique_ptr<const State> state_;
};

}  // namespace quern
