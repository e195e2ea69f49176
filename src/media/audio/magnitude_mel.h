// SPDX-License-Identifier: Apache-2.0
// MagnitudeMel: the mel spectrogram that vocoders of the HiFi-GAN family speak: the logarithm of
// how loud each band is (not of its energy, as in log_mel.h), frames between the samples, not
// around them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "media/audio/fourier.h"
#include "media/audio/slaney_bands.h"

namespace quern {

struct MagnitudeMelShape {
  int64_t rate_hz = 24'000;
  int64_t fft = 1920, hop = 480;  // samples of a frame; between the beginnings of two
  int64_t bands = 80;             // from 0 to 8000 Hz
};

class MagnitudeMel {
 public:
  // Throws data_loss for sizes that cannot be, naming them; nothing is allocated then.
  explicit MagnitudeMel(const MagnitudeMelShape& shape);
  const MagnitudeMelShape& shape() const { return shape_; }

  // [samples / hop, bands]: of the recording with (fft - hop) / 2 mirrored samples at both ends,
  // frames under a periodic Hann window, sqrt(energy + 1e-9) of each line, triangular filters after
  // Slaney, ln of at least 1e-5. In double precision. Throws invalid_argument for a recording that
  // is too short to be mirrored, (fft - hop) / 2 samples or fewer.
  std::vector<float> operator()(std::span<const float> samples) const;

 private:
  MagnitudeMelShape shape_;
  std::vector<double> hann_;  // [fft]
  Fourier fourier_;
  std::vector<BandFilter> filters_;
};

}  // namespace quern
