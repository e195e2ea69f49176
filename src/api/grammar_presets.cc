// SPDX-License-Identifier: Apache-2.0
// Source of the actions: the system prompt and phone_agent/actions/handler.py of
// zai-org/Open-AutoGLM. Points count from 0 to 999 from the upper left corner. Texts hold no quote
// and no backslash: every reader of the language then reads the same.
#include "api/grammar_presets.h"

namespace quern {
namespace {

constexpr std::string_view kAutoGlmActions = R"EBNF(
action ::= "do(action=" call ")" | "finish(message=" text ")"
call ::= tap | swipe | typing | waiting | message | "\"Launch\", app=" text | "\"Back\"" | "\"Home\"" | "\"Interact\""
tap ::= "\"Tap\", element=" point (", message=" text)? | "\"Long Press\", element=" point | "\"Double Tap\", element=" point
swipe ::= "\"Swipe\", start=" point ", end=" point
typing ::= "\"Type\", text=" text | "\"Type_Name\", text=" text
waiting ::= "\"Wait\", duration=\"" number " seconds\""
message ::= "\"Take_over\", message=" text | "\"Note\", message=" text | "\"Call_API\", instruction=" text
point ::= "[" number "," " "? number "]"
number ::= "0" | [1-9] [0-9]? [0-9]?
text ::= "\"" [^"\\]* "\""
)EBNF";

// A Lean 4 answer: one fenced block, and prose in front of it, none of which has a fence of its
// own.
constexpr std::string_view kLean4Block = R"EBNF(
block ::= "```lean4\n" text "\n```"
text ::= part+
part ::= [^`\x00] | "`" [^`\x00] | "``" [^`\x00]
)EBNF";

struct Preset {
  std::string_view name, root;
  std::string_view rules;
};

constexpr Preset kPresets[] = {
    {"autoglm",
     R"EBNF(root ::= [^\x00]* (action | "<answer>" action "</answer>"))EBNF",
     kAutoGlmActions},
    {"autoglm_action", "root ::= action", kAutoGlmActions},
    {"lean4", R"EBNF(root ::= (text "\n")? block "\n"?)EBNF", kLean4Block},
    {"lean4_block", "root ::= block", kLean4Block},
};

}  // namespace

std::optional<GrammarSpec> grammar_preset(std::string_view name) {
  for (const Preset& preset : kPresets)
    if (preset.name == name)
      return GrammarSpec{GrammarSpec::Kind::ebnf,
                         std::string(preset.root) + std::string(preset.rules)};
  return std::nullopt;
}

std::vector<std::string> grammar_preset_names() {
  std::vector<std::string> out;
  for (const Preset& preset : kPresets) out.emplace_back(preset.name);
  return out;
}

}  // namespace quern
