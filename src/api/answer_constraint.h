// SPDX-License-Identifier: Apache-2.0
// Where a constraint on an answer begins to hold.
#pragma once

#include <memory>

#include "api/service.h"
#include "prompt/prompt.h"
#include "sampling/grammar/grammar.h"

namespace quern {

// The grammar for what the model writes behind `prompt`: for a family that thinks in front of a
// constrained answer (ReasoningFamily::thinks_before_constraint) it holds behind the thoughts, else
// from the first token on. Null stays null.
std::shared_ptr<const Grammar> grammar_behind(std::shared_ptr<const Grammar> grammar,
                                              const Service& service,
                                              const Prompt& prompt);

}  // namespace quern
