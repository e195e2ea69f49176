// SPDX-License-Identifier: Apache-2.0
// Grammars that are known by name: what models of one trade answer with.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sampling/grammar/grammar.h"

namespace quern {

// "autoglm": any text, then one action of AutoGLM-Phone, alone or between <answer> and </answer>.
// "autoglm_action": one action and nothing else. "lean4": prose, if any, then one fenced block of
// Lean 4 code; "lean4_block": the block alone. Nothing for another name.
std::optional<GrammarSpec> grammar_preset(std::string_view name);
std::vector<std::string> grammar_preset_names();

}  // namespace quern
