// SPDX-License-Identifier: Apache-2.0
// Stands in for ffmpeg_clip.cc in builds without FFmpeg.
#include "base/error.h"
#include "media/video/clip.h"

namespace quern {

bool has_video_decoder() {
  return false;
}

Clip decode_clip(std::span<const std::byte>, const FrameRule&, const ClipLimits&) {
  fail(ErrorCode::unsupported,
       "video file: this build has no decoder for them (QUERN_WITH_FFMPEG=ON when it is built); "
       "send the clip as a list of pictures, \"video\": [url, …]");
}

}  // namespace quern
