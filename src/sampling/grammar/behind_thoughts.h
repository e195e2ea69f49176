// SPDX-License-Identifier: Apache-2.0
// A grammar for what comes behind a model's thoughts, where special tokens stand around these: no
// grammar over text could allow such tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "sampling/grammar/grammar.h"

namespace quern {

struct ThoughtTokens {
  int32_t begin = -1, end = -1;
  bool is_open = false;  // the prompt ends behind `begin`
};

// Anything but an end of the sequence (`end_ids`) between `begin` and `end`, then what `answer`
// allows; or that at once, where the first token is not `begin`.
std::shared_ptr<const Grammar> behind_thoughts(std::shared_ptr<const Grammar> answer,
                                               const ThoughtTokens& tokens,
                                               std::vector<int32_t> end_ids);

}  // namespace quern
