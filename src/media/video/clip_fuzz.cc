// SPDX-License-Identifier: Apache-2.0
// Any bytes either become a clip within the limits, or end in an Error.
#include "base/error.h"
#include "media/video/clip.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const quern::ClipLimits limits{
      .max_bytes = 1 << 20, .max_pixels = 1 << 16, .max_clip_pixels = 1 << 18};
  try {
    const quern::Clip clip =
        quern::decode_clip({reinterpret_cast<const std::byte*>(data), size}, {}, limits);
    if (clip.frames.empty() || clip.frames.size() > 768) __builtin_trap();
  } catch (const quern::Error&) {
  }
  return 0;
}
