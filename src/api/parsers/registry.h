// SPDX-License-Identifier: Apache-2.0
// Which dialect a server reads answers in: by name, or found in the model's chat template.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/parsers/reasoning.h"
#include "api/parsers/tool_dialect.h"
#include "text/tokenizer/tokenizer.h"

namespace quern {

inline constexpr std::string_view kAutoParser = "auto", kNoParser = "none";

// Names that --tool-call-parser and --reasoning-parser take, aliases included; "auto" and "none"
// first.
std::vector<std::string> tool_parser_names();
std::vector<std::string> reasoning_parser_names();

// Throws invalid_argument for a name that is none of them. "none" gives null or nothing.
std::shared_ptr<const ToolDialect> tool_dialect_of(std::string_view name);
std::optional<ReasoningFamily> reasoning_family_of(std::string_view name);

// The name of the dialect that a template's text shows; "none" if it shows none.
std::string_view tool_parser_in(std::string_view chat_template);
std::string_view reasoning_parser_in(std::string_view chat_template);

// Strings of a dialect that are special tokens of the vocabulary, and their ids.
using SpecialTokens = std::map<std::string, int32_t, std::less<>>;

// What one server reads answers with. Immutable, shared by its requests.
struct AnswerDialects {
  std::string tool_parser = std::string(kNoParser), reasoning_parser = std::string(kNoParser);
  std::shared_ptr<const ToolDialect> tools;  // null: none
  std::shared_ptr<const ToolDialect>
      fallback;  // reads what an answer is constrained to without one
  std::optional<ReasoningFamily> reasoning;
  // Special tokens that the dialects consist of: decoded where special tokens are left out.
  SpecialTokens tool_markers;
  std::vector<int32_t> reasoning_markers;

  // `tool_parser` and `reasoning_parser` are names, "auto" or "none".
  static AnswerDialects choose(std::string_view tool_parser,
                               std::string_view reasoning_parser,
                               std::string_view chat_template,
                               const Tokenizer& tokenizer);
};

}  // namespace quern
