// SPDX-License-Identifier: Apache-2.0
// PromptRules: where the reference implementations differ, which one is followed.
#pragma once

#include "media/image/resize.h"

namespace quern {

// The product's choice is the default (docs/models/qwen2-vl.md).
struct PromptRules {
  // Text after a clip goes on at start + max(rows, columns) as in transformers; else at the largest
  // position + 1, the rule that was published with the weights.
  bool transformers_video_positions = false;
  // Clips: frames are chosen, and their size is limited, as qwen-vl-utils does; false: the list as
  // it is, limits from the files.
  bool sample_frames = true;
  ResizeRule resize = ResizeRule::torchvision;
  // What a recording has beyond the last window that the model takes is dropped, as transformers
  // does with a warning; else such a recording is refused.
  bool cut_long_recordings = false;
};

}  // namespace quern
