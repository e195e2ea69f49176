// SPDX-License-Identifier: Apache-2.0
// Repetition-aware sampling: speech tokens drawn from a narrow nucleus, and where the drawn one was
// said a moment ago, once more from all of them. A nucleus alone makes speech loop; the whole
// distribution alone makes it stumble.
//
// Source: Chen et al. 2024 (VALL-E 2), section 3.2; GLM-TTS, which draws again from everything.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sampling/candidates.h"

namespace quern {

// GLM-TTS's numbers.
struct RepetitionAware {
  double top_p = 0.8;    // the nucleus: likeliest tokens until they have so much of the whole,
  int top_k = 25;        // and at most so many
  int window = 10;       // tokens back
  int most_repeats = 1;  // a token that often in the window is drawn anew

  // Throws invalid_argument naming the field and its bounds.
  void validate() const;
};

// The nucleus at temperature 1, the likeliest first: weights relative to the likeliest token's.
// Throws as arg_max.
std::vector<Candidate> nucleus(std::span<const float> logits, const RepetitionAware& rule);

// Whether a token drawn from the nucleus is drawn anew behind `said`.
bool is_repeated(int32_t token, std::span<const int32_t> said, const RepetitionAware& rule);

// Two random numbers in [0, 1): of the nucleus, and of the second draw.
int32_t draw_repetition_aware(std::span<const float> logits,
                              std::span<const int32_t> said,
                              const RepetitionAware& rule,
                              double first,
                              double second);

// The probability of every token after both draws, [V].
std::vector<float> repetition_aware_distribution(std::span<const float> logits,
                                                 std::span<const int32_t> said,
                                                 const RepetitionAware& rule);

}  // namespace quern
