// SPDX-License-Identifier: Apache-2.0
#include "media/audio/reference_sound.h"

#include "base/error.h"
#include "media/audio/sinc_resampler.h"

namespace quern {

ReferenceSound reference_sound(MediaDecoder& decoder,
                               std::span<const std::byte> bytes,
                               int64_t mel_rate_hz,
                               size_t max_bytes) {
  constexpr int64_t kModelRate = 16'000;
  const SoundLimits limits{.max_bytes = max_bytes, .max_seconds = kMostReferenceSeconds};
  const auto decode = [&](SoundChannel channel) {
    return with_context("reference recording of a voice, of at most 60 seconds", [&] {
      return decoder.decode_sound(bytes, {SoundForm::kFileRate, channel}, limits);
    });
  };
  ReferenceSound out;
  // One after the other: a file of a high rate is large.
  {
    const Sound first = decode(SoundChannel::first);
    out.tokenized = sinc_resample(first.samples, first.rate_hz, kModelRate);
  }
  const Sound mean = decode(SoundChannel::mean);
  out.spoken = sinc_resample(mean.samples, mean.rate_hz, kModelRate);
  out.played = sinc_resample(mean.samples, mean.rate_hz, mel_rate_hz);
  out.seconds = mean.seconds();
  return out;
}

}  // namespace quern
