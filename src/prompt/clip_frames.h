// SPDX-License-Identifier: Apache-2.0
// Which frames of a clip are shown, and how large, as qwen-vl-utils and transformers' GLM-4V decide
// it.
#pragma once

#include <cstdint>
#include <vector>

#include "media/image/smart_resize.h"

namespace quern {

struct ClipFrames {
  std::vector<int64_t> indices;
  double fps = 2.0;  // of the frames that were chosen
};

// The list as it is.
ClipFrames all_frames(int64_t total, double fps);
// A list at up to 2 frames per second is taken as it is; of a denser one frames are chosen, evenly,
// at 2 per second: an even number of at least 4 and at most 768.
ClipFrames choose_frames(int64_t total, double fps);

// GLM-4.1V: a clip of up to max_duration seconds is shown at `target` frames per second, a longer
// one at that many frames in all, evenly. No frame twice, but that an odd number repeats the last.
ClipFrames choose_glm4v_frames(int64_t total, double fps, double target, double max_duration);

// The pixel limits of one of `frames` frames: all together stay within 24,576 tokens of 28 x 28
// pixels, two frames a token.
PixelRange clip_pixel_range(int64_t frames);

}  // namespace quern
