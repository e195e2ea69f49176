// SPDX-License-Identifier: Apache-2.0
// Sources: Kong et al. 2020 (HiFi-GAN), whose code the models follow that speak such mels;
// librosa's mel filters.
#include "media/audio/magnitude_mel.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace quern {
namespace {

constexpr double kHighestHz = 8000, kLeastEnergy = 1e-9, kFloor = 1e-5;

const MagnitudeMelShape& checked(const MagnitudeMelShape& s) {
  const bool is_possible = s.rate_hz >= 1000 && s.rate_hz <= 48'000 && s.fft >= 16 &&
                           s.fft <= 8192 && s.hop >= 16 && s.hop <= s.fft &&
                           (s.fft - s.hop) % 2 == 0 && s.bands >= 1 && s.bands <= 512;
  if (!is_possible)
    fail(ErrorCode::data_loss,
         "mel frames at {} Hz of {} samples, one each {}, {} bands: expected 1000 to 48000 Hz, 16 "
         "to 8192, 16 to as many and an even number less, 1 to 512",
         s.rate_hz,
         s.fft,
         s.hop,
         s.bands);
  return s;
}

}  // namespace

MagnitudeMel::MagnitudeMel(const MagnitudeMelShape& shape)
    : shape_(checked(shape)),
      fourier_(shape.fft),
      filters_(slaney_bands(shape.rate_hz, shape.fft, shape.bands, kHighestHz)) {
  for (int64_t n = 0; n < shape.fft; ++n)
    hann_.push_back(0.5 - 0.5 * std::cos(2 * std::numbers::pi * static_cast<double>(n) /
                                         static_cast<double>(shape.fft)));
}

std::vector<float> MagnitudeMel::operator()(std::span<const float> samples) const {
  const auto count = static_cast<int64_t>(samples.size());
  const int64_t margin = (shape_.fft - shape_.hop) / 2;
  if (count <= margin || count < shape_.hop)
    fail(ErrorCode::invalid_argument,
         "recording: {} samples at {} Hz: a mel frame needs {}",
         count,
         shape_.rate_hz,
         std::max(margin + 1, shape_.hop));
  const auto sample = [&](int64_t i) {
    const int64_t right = std::abs(i);
    return samples[static_cast<size_t>(right < count ? right : 2 * (count - 1) - right)];
  };
  const int64_t frames = (count + 2 * margin - shape_.fft) / shape_.hop + 1;
  std::vector<float> out;
  out.reserve(static_cast<size_t>(frames * shape_.bands));
  std::vector<double> frame(hann_.size());
  for (int64_t f = 0; f < frames; ++f) {
    for (int64_t n = 0; n < shape_.fft; ++n)
      frame[static_cast<size_t>(n)] =
          sample(f * shape_.hop + n - margin) * hann_[static_cast<size_t>(n)];
    std::vector<double> lines = fourier_.energies(frame);
    for (double& line : lines) line = std::sqrt(line + kLeastEnergy);
    for (const BandFilter& filter : filters_) {
      double sum = 0;
      for (size_t i = 0; i < filter.weights.size(); ++i)
        sum += filter.weights[i] * lines[static_cast<size_t>(filter.first) + i];
      out.push_back(static_cast<float>(std::log(std::max(sum, kFloor))));
    }
  }
  return out;
}

}  // namespace quern
