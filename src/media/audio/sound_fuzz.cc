// SPDX-License-Identifier: Apache-2.0
// Any bytes either become samples within the limits, or end in an Error.
#include <cmath>

#include "base/error.h"
#include "media/audio/known_leaks.h"
#include "media/audio/sound.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const quern::SoundLimits limits{.max_bytes = 1 << 20, .max_seconds = 2};
  constexpr int64_t kRate = 16'000;
  for (const quern::SoundForm& form :
       {quern::SoundForm(kRate),
        quern::SoundForm(quern::SoundForm::kFileRate, quern::SoundChannel::first)}) {
    try {
      const quern::Sound sound =
          quern::decode_sound({reinterpret_cast<const std::byte*>(data), size}, form, limits);
      const bool is_resampled = form.rate_hz == kRate;
      if (sound.samples.empty() || (is_resampled && sound.rate_hz != kRate)) __builtin_trap();
      if (sound.rate_hz < quern::kLeastFileRate || sound.rate_hz > quern::kMostFileRate)
        __builtin_trap();
      if (sound.samples.size() > static_cast<size_t>(limits.max_seconds * sound.rate_hz + 1))
        __builtin_trap();
      for (const float sample : sound.samples)
        if (!std::isfinite(sample)) __builtin_trap();
    } catch (const quern::Error&) {
    }
  }
  return 0;
}
