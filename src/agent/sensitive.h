// SPDX-License-Identifier: Apache-2.0
// Which actions the user is asked about first: what pays, sends or deletes.
#pragma once

#include <string>
#include <string_view>

#include "agent/action.h"

namespace quern::agent {

// Whether a text has a word of paying, buying, sending or deleting, in English or Chinese.
bool names_sensitive_deed(std::string_view text);

// What to ask the user; empty: the action is none of these. `label`: what the phone says of the
// place (ask_label). A tap is judged by its label, by the thought behind it where there is none,
// and by the model's own word in any case.
std::string question_about(const Action& action,
                           const std::string& thought,
                           const std::string& label);

// Whether the label of the place decides.
bool is_touch(ActionKind kind);

}  // namespace quern::agent
