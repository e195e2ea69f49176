// SPDX-License-Identifier: Apache-2.0
// The side of a process that decodes: confined first, then one picture after the other.
#pragma once

#include <cstddef>

#include "media/video/clip.h"

namespace quern {

// Answers what comes on `fd` until its other side closes. `most` bounds each request. Confines the
// process, for good, if `must_confine`: what runs after this is stdin, stdout and `fd` alone.
void serve_decoder(int fd, const ClipLimits& most, bool must_confine);

}  // namespace quern
