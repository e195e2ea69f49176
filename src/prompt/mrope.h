// SPDX-License-Identifier: Apache-2.0
// Positions on three axes (time, row, column), as the Qwen2-VL line counts them.
#pragma once

#include <optional>

#include "prompt/prompt.h"
#include "weights/config.h"

namespace quern {

struct MropeRule {
  int64_t merge = 2;  // patches per token, in each direction of a frame
  // Clips: temporal patch i stands i * tokens_per_second * seconds_per_grid steps after the first,
  // cut to an integer; 0: i steps.
  double tokens_per_second = 0;
  bool is_time_ignored_after = false;  // see PromptRules::transformers_video_positions
};

// Fills positions [3, T], axes and rope_delta. A text token has the same position on every axis,
// one more than any before it; tokens of a medium start there and count their own time, row and
// column.
//
//   2 text, clip of 2 x (2 x 2) tokens, 1 text:   time    0 1 | 2 2 2 2 3 3 3 3 | 4
//                                                 row     0 1 | 2 2 3 3 2 2 3 3 | 4
//                                                 column  0 1 | 2 3 2 3 2 3 2 3 | 4
void place_mrope(Prompt& prompt, const MropeRule& rule);

// How many axes the config shares its frequencies out among (mrope_section, xdrope_section); empty
// where it does not.
std::optional<int> rotary_axes(const Config& root);

}  // namespace quern
