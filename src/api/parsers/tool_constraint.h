// SPDX-License-Identifier: Apache-2.0
// What tool_choice and strict tools ask of an answer, as a grammar: the model's own way to call,
// with the arguments' schema inside, so that its parser reads what the grammar allows.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/parsers/registry.h"
#include "base/json.h"
#include "sampling/grammar/grammar.h"

namespace quern {

struct ToolChoice {
  enum class Mode : uint8_t { none, automatic, required, named };
  Mode mode = Mode::automatic;
  std::string name;  // named
  bool is_forced() const { return mode == Mode::required || mode == Mode::named; }
};

struct ToolConstraint {
  GrammarSpec spec;
  bool is_in_dialect = true;  // else in the form that AnswerDialects::fallback reads
};

struct ToolConstraintRequest {
  const Json& tools;  // an array
  const ToolChoice& choice;
  bool is_parallel = true;  // more than one call
  // The answer may, or will, begin with reasoning: in front of the calls.
  bool has_reasoning = false;
  ReasoningFamily family = {};
  PromptThinking prompt = PromptThinking::unsaid;
  const SpecialTokens& special_tokens;  // of the dialect
  int64_t calls_before = 0;             // of the conversation, where a dialect numbers its calls
};

// Nothing where nothing is asked: tool_choice "auto" without strict tools, or a dialect that cannot
// be constrained in the midst of text.
std::optional<ToolConstraint> tool_constraint(std::string_view tool_parser,
                                              const ToolConstraintRequest& request);

}  // namespace quern
