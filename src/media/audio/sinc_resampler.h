// SPDX-License-Identifier: Apache-2.0
// Resampling by a windowed sinc as torchaudio does it by default, for models whose reference loads
// sound that way: a few speech tokens change with another kernel. resampler.h is soxr, for models
// whose reference loads sound by librosa.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace quern {

// `samples` at `from_hz` (1,000 to 384,000) -> ceil(samples to / from) at `to_hz` (1,000 to
// 48,000). Sinc up to 0.99 of the lower Nyquist frequency, under a Hann window of six zero
// crossings to each side; silence before and behind. Equal rates: as they are. Memory beside the
// result: at most some 5 million weights, where the rates have no common divisor.
std::vector<float> sinc_resample(std::span<const float> samples, int64_t from_hz, int64_t to_hz);

}  // namespace quern
