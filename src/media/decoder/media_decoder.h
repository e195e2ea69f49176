// SPDX-License-Identifier: Apache-2.0
// MediaDecoder: where encoded pictures and clips become pixels, and recordings samples: in this
// process, or in others that a bug in a decoder takes down alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "media/audio/sound.h"
#include "media/image/image.h"
#include "media/video/clip.h"

namespace quern {

class MediaDecoder {
 public:
  virtual ~MediaDecoder() = default;

  // As decode_image. From several threads at once.
  virtual Image decode(std::span<const std::byte> bytes, const ImageLimits& limits) = 0;
  // As decode_clip.
  virtual Clip decode_clip(std::span<const std::byte> bytes,
                           const FrameRule& rule,
                           const ClipLimits& limits) = 0;
  // As decode_sound.
  virtual Sound decode_sound(std::span<const std::byte> bytes,
                             const SoundForm& form,
                             const SoundLimits& limits) = 0;
  // Processes that decoded and were lost: died, late, or made no sense.
  virtual int64_t losses() const { return 0; }
};

class InProcessDecoder final : public MediaDecoder {
 public:
  Image decode(std::span<const std::byte> bytes, const ImageLimits& limits) override {
    return decode_image(bytes, limits);
  }
  Clip decode_clip(std::span<const std::byte> bytes,
                   const FrameRule& rule,
                   const ClipLimits& limits) override {
    return quern::decode_clip(bytes, rule, limits);
  }
  Sound decode_sound(std::span<const std::byte> bytes,
                     const SoundForm& form,
                     const SoundLimits& limits) override {
    return quern::decode_sound(bytes, form, limits);
  }
};

}  // namespace quern
