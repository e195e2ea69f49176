// SPDX-License-Identifier: Apache-2.0
// The side of a process that decodes: confined first, then one picture or recording after the
// other.
#pragma once

#include <cstddef>

#include "media/audio/sound.h"
#include "media/video/clip.h"

namespace quern {

// What bounds each request; encoded bytes by those of `clip`.
struct DecoderLimits {
  ClipLimits clip = {};
  int64_t max_sound_seconds = SoundLimits().max_seconds;
};

// Answers what comes on `fd` until its other side closes. `most` bounds each request. Confines the
// process, for good, if `must_confine`: what runs after this is stdin, stdout and `fd` alone.
void serve_decoder(int fd, const DecoderLimits& most, bool must_confine);

}  // namespace quern
