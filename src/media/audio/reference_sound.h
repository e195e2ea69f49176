// SPDX-License-Identifier: Apache-2.0
// ReferenceSound: a recording of a voice as those take it who make speech in that voice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "media/decoder/media_decoder.h"

namespace quern {

// Three to ten seconds say what a voice is; more makes every sentence slower.
constexpr int64_t kMostReferenceSeconds = 60;

struct ReferenceSound {
  std::vector<float> tokenized;  // at 16 kHz, the first channel: for the speech tokenizer
  std::vector<float> spoken;     // at 16 kHz, the mean of the channels: for the speaker encoder
  std::vector<float> played;     // at the rate of the mel, the mean too
  double seconds = 0;            // of the file
};

// From a file that `decoder` decodes, resampled as torchaudio does it (sinc_resampler.h). Throws as
// decode_sound does: exhausted beyond kMostReferenceSeconds, or `max_bytes`.
ReferenceSound reference_sound(MediaDecoder& decoder,
                               std::span<const std::byte> bytes,
                               int64_t mel_rate_hz,
                               size_t max_bytes = SoundLimits{}.max_bytes);

}  // namespace quern
