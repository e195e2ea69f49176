// SPDX-License-Identifier: Apache-2.0
// Source: Povey et al. 2011, "The Kaldi Speech Recognition Toolkit": feature-fbank, feature-window,
// mel-computations; torchaudio 2, compliance/kaldi.py.
#include "media/audio/kaldi_fbank.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "media/audio/fourier.h"

namespace quern {
namespace {

constexpr int64_t kFrame = 400, kHop = 160, kPoints = 512;
constexpr double kEmphasis = 0.97, kLowestHz = 20, kHighestHz = 8000, kFloor = 0x1p-23;

double kaldi_mels(double hz) {
  return 1127 * std::log(1 + hz / 700);
}

// [80, 256]: the line at the Nyquist frequency has no weight in any band.
std::vector<double> band_weights() {
  const double least = kaldi_mels(kLowestHz),
               step = (kaldi_mels(kHighestHz) - least) / (kFbankBands + 1);
  std::vector<double> out;
  for (int64_t b = 0; b < kFbankBands; ++b)
    for (int64_t k = 0; k < kPoints / 2; ++k) {
      const double hz = static_cast<double>(k * kFbankRate) / kPoints;
      const double rising = (kaldi_mels(hz) - least) / step - static_cast<double>(b);
      out.push_back(std::max(0.0, std::min(rising, 2 - rising)));
    }
  return out;
}

// Hann's window, both ends included, to the power of 0.85.
std::array<double, kFrame> povey_window() {
  std::array<double, kFrame> out;
  for (size_t n = 0; n < out.size(); ++n)
    out[n] = std::pow(
        0.5 - 0.5 * std::cos(2 * std::numbers::pi * static_cast<double>(n) / (kFrame - 1)), 0.85);
  return out;
}

// One frame as its spectrum is taken: zeros behind it.
std::array<double, kPoints> prepared(std::span<const float> samples,
                                     const std::array<double, kFrame>& window) {
  double mean = 0;
  for (const float x : samples) mean += x;
  mean /= kFrame;
  std::array<double, kPoints> out{};
  for (size_t n = 0; n < samples.size(); ++n) {
    const double before = samples[n == 0 ? 0 : n - 1] - mean;
    out[n] = (samples[n] - mean - kEmphasis * before) * window[n];
  }
  return out;
}

void take_means(std::vector<double>& logs) {
  const size_t bands = kFbankBands, frames = logs.size() / bands;
  for (size_t b = 0; b < bands; ++b) {
    double mean = 0;
    for (size_t f = 0; f < frames; ++f) mean += logs[f * bands + b];
    mean /= static_cast<double>(frames);
    for (size_t f = 0; f < frames; ++f) logs[f * bands + b] -= mean;
  }
}

}  // namespace

std::vector<float> mean_free_fbank(std::span<const float> samples) {
  const auto count = static_cast<int64_t>(samples.size());
  if (count < kFrame)
    fail(ErrorCode::invalid_argument,
         "recording: {} samples at 16 kHz: a speaker is known by {} at least",
         count,
         kFrame);
  const std::vector<double> weights = band_weights();
  const std::array<double, kFrame> window = povey_window();
  const Fourier fourier(kPoints);
  std::vector<double> logs;
  for (int64_t first = 0; first + kFrame <= count; first += kHop) {
    const auto frame = samples.subspan(static_cast<size_t>(first), kFrame);
    const std::vector<double> energies = fourier.energies(prepared(frame, window));
    for (int64_t b = 0; b < kFbankBands; ++b) {
      double sum = 0;
      for (size_t k = 0; k < kPoints / 2; ++k)
        sum += weights[static_cast<size_t>(b) * (kPoints / 2) + k] * energies[k];
      logs.push_back(std::log(std::max(sum, kFloor)));
    }
  }
  take_means(logs);
  return {logs.begin(), logs.end()};
}

}  // namespace quern
