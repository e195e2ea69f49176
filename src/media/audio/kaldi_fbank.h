// SPDX-License-Identifier: Apache-2.0
// Kaldi's filter bank, without its mean: the features of speaker encoders.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace quern {

constexpr int64_t kFbankRate = 16'000, kFbankBands = 80;

// Samples at 16 kHz, full scale 1 -> [frames, 80], a frame of 400 samples each 160 that lies wholly
// inside: 1 + (samples - 400) / 160. As torchaudio's compliance.kaldi.fbank without dither: each
// frame loses its mean, is pre-emphasised by 0.97 and weighed by Povey's window; energies of 512
// points, triangles over Kaldi's mel scale from 20 to 8000 Hz, ln of at least 2^-23. Then each band
// loses its mean over all frames. In double precision. Throws invalid_argument for less than a
// frame.
std::vector<float> mean_free_fbank(std::span<const float> samples_16k);

}  // namespace quern
