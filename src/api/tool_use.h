// SPDX-License-Identifier: Apache-2.0
// What a chat request says of tools and reasoning, and how its answers are therefore read.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "api/field_reader.h"
#include "api/parsers/answer_parser.h"
#include "api/parsers/registry.h"
#include "api/parsers/tool_constraint.h"
#include "api/sampling_fields.h"
#include "prompt/prompt.h"

namespace quern {

struct ToolUse {
  ToolChoice choice;                // "none" without tools
  bool refuses_calls = false;       // tool_choice "none" was said: calls stay text
  bool is_parallel = true;          // parallel_tool_calls: more than one call in an answer
  bool shows_reasoning = true;      // include_reasoning; false drops it
  bool separates_reasoning = true;  // separate_reasoning; false leaves it in the text

  // Reads tool_choice, parallel_tool_calls, include_reasoning and separate_reasoning. `tools` is
  // the request's array, or null.
  static ToolUse parse(FieldReader& fields, const Json* tools);
};

// The parser of one choice of an answer, by its index.
using ParserFactory = std::function<std::unique_ptr<AnswerParser>(int choice)>;

struct AnswerReading {
  ParserFactory make_parser;               // empty: all text is content
  std::vector<int32_t> shown_special_ids;  // that the parser must see
  bool has_reasoning = false;              // a parser looks for reasoning
  std::optional<GrammarSpec> constraint;   // what tool_choice or strict tools ask for
};

struct ReadingRequest {
  const AnswerDialects& dialects;
  const ToolUse& use;
  std::shared_ptr<const Json> tools;  // null: none
  const Prompt& prompt;
  std::string id;            // ids of tool calls depend on it
  int64_t calls_before = 0;  // tool calls of the conversation so far
};
AnswerReading reading_of(const ReadingRequest& request);

// How many calls the assistant made in these messages.
int64_t tool_calls_in(const Json& messages);

}  // namespace quern
