// SPDX-License-Identifier: Apache-2.0
// Clip: the frames that are taken of a video file. Decoding is FFmpeg's, where the build has it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "media/image/image.h"
#include "media/video/clip_frames.h"

namespace quern {

struct Clip {
  std::vector<Image> frames;  // of one size
  double fps = 2.0;           // of these frames
};

struct ClipLimits {
  size_t max_bytes = size_t{32} << 20;
  int64_t max_pixels = int64_t{64} << 20;        // of one frame
  int64_t max_clip_pixels = int64_t{256} << 20;  // of all frames that are taken
};

// Whether this build decodes video files: QUERN_WITH_FFMPEG.
bool has_video_decoder();

// MP4, QuickTime, Matroska, WebM, AVI and MPEG-TS; which frames: sample_frames. Throws unsupported
// for another format or codec, or without FFmpeg; exhausted over a limit (with the numbers, before
// pixels are made); data_loss for damage before the last frame that is taken.
Clip decode_clip(std::span<const std::byte> bytes,
                 const FrameRule& rule,
                 const ClipLimits& limits = {});

}  // namespace quern
