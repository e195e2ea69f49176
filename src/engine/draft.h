// SPDX-License-Identifier: Apache-2.0
// Drafts: guesses of what a sequence goes on with, taken from what it has said before (prompt
// look-up). A step computes them behind the sequence's last token; those that the sampler then
// chooses anyway are kept, so no answer depends on a guess.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace quern {

struct SpeculationConfig {
  static constexpr int kMostTokens = 16, kMostLookup = 32;

  int tokens = 0;  // guessed at one time; 0: none
  // So many of the last tokens must have stood there before; where more of them did, that place is
  // taken.
  int lookup_min = 5, lookup_max = 5;

  void validate() const;  // throws invalid_argument naming the field
};

// What followed the place where the longest end of `history` (of lookup_min to lookup_max tokens)
// stood before; of equally long ones the latest. At most `most` tokens, and none without such a
// place. Only the last 32,768 tokens are looked at.
std::vector<int32_t> draft_of(std::span<const int32_t> history,
                              const SpeculationConfig& config,
                              int64_t most);

}  // namespace quern
