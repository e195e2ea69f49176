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

// Whose way of choosing: evenly (Qwen2-VL), by the second (GLM-4.1V), by ticks (GLM-4.6V).
enum class FrameChoice : uint8_t { evenly, by_second, by_tick };

struct FrameRule {
  double fps = 2.0;  // frames that are taken of a second; by ticks: the length says how many
  int64_t min_frames = 4, max_frames = 768;  // by second and by tick there is no least
  int64_t num_frames = 0;                    // as many as this, evenly; 0: as the choice says
  FrameChoice choice = FrameChoice::evenly;
  double max_duration = 300;  // by the second: seconds that are shown at the full rate
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

// GLM-4.6V: 6 frames of a second of a clip of up to 30 seconds, 2 up to 300, else 1, and at most
// `most`: the first at or behind each tick. The last is repeated likewise.
ClipFrames choose_glm46v_frames(int64_t total, double fps, int64_t most = 640);

// The pixel limits of one of `frames` frames: all together stay within 24,576 tokens of 28 x 28
// pixels, two frames a token.
PixelRange clip_pixel_range(int64_t frames);

}  // namespace quern
