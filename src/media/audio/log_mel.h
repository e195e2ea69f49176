// SPDX-License-Identifier: Apache-2.0
// LogMel: the features of Whisper and its relatives: the logarithm of how much energy lies in bands
// that are as wide as the ear's, a hundred times a second.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "media/audio/slaney_bands.h"

namespace quern {

struct MelShape {
  int64_t rate_hz = 16000;
  int64_t fft = 400, hop = 160;  // samples of a frame; between the beginnings of two
  int64_t bands = 80;            // from 0 to 8000 Hz
  int64_t window = 480000;       // samples that are looked at together

  int64_t frames() const { return window / hop; }  // of a window
};

class LogMel {
 public:
  // Throws data_loss for sizes that cannot be: naming them; nothing is allocated then.
  explicit LogMel(const MelShape& shape);
  const MelShape& shape() const { return shape_; }

  // Frames that begin inside of so many samples.
  int64_t frames_of(int64_t samples) const {
    return std::min((samples + shape_.hop - 1) / shape_.hop, shape_.frames());
  }
  // One window: at most shape().window samples, silence behind them -> [frames, bands]. As
  // transformers' WhisperFeatureExtractor, in double precision: power spectrum of centred frames
  // (mirrored at both ends) under a periodic Hann window, triangular filters spaced and normalised
  // after Slaney, log10 of at least 1e-10, nothing below the window's largest - 8, (x + 4) / 4.
  std::vector<float> operator()(std::span<const float> samples) const {
    return features(samples, shape_.window);
  }
  // A recording of at least one window as a whole -> [samples / hop, bands]: one largest value for
  // all of it.
  std::vector<float> whole(std::span<const float> samples) const {
    return features(samples, static_cast<int64_t>(samples.size()));
  }

 private:
  std::vector<float> features(std::span<const float> samples, int64_t window) const;

  class Spectrum;

  MelShape shape_;
  std::vector<double> hann_;           // [fft]
  std::vector<double> cosine_, sine_;  // [fft / 2 + 1, lines]: of 2 pi n k / fft
  std::vector<BandFilter> filters_;
};

}  // namespace quern
