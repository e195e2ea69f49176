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

struct FrameRule {
  double fps = 2.0;  // frames that are taken of a second
  int64_t min_frames = 4, max_frames = 768;
  int64_t num_frames = 0;   // as many as this, whatever `fps`; 0: as `fps` says
  double max_duration = 0;  // seconds; above 0: frames are taken as GLM-4.1V takes them
};

// The list as it is.
ClipFrames all_frames(int64_t total, double fps);

// A list at up to the rule's frames per second is taken as it is; of a denser one frames are
// chosen, evenly: an even number between the rule's bounds.
ClipFrames choose_frames(int64_t total, double fps, const FrameRule& rule = {});
// The same of a video file, of which some are chosen at every rate.
ClipFrames sample_frames(int64_t total, double fps, const FrameRule& rule = {});

// GLM-4.1V: a clip of up to max_duration seconds is shown at `target` frames per second, a longer
// one at that many frames in all, evenly. No frame twice, but that an odd number repeats the last.
ClipFrames choose_glm4v_frames(int64_t total, double fps, double target, double max_duration);

// The pixel limits of one of `frames` frames: all together stay within 24,576 tokens of 28 x 28
// pixels, two frames a token.
PixelRange clip_pixel_range(int64_t frames);

}  // namespace quern
