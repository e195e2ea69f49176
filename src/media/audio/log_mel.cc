// SPDX-License-Identifier: Apache-2.0
// Sources: Radford et al. 2022 (Whisper), section 2.2; transformers 5.23,
// feature_extraction_whisper.py, mel_filter_bank of audio_utils.py.
//
// A frame of 400 samples is no power of two and small: its spectrum is taken as a product with
// cosines and sines. As both are mirrored around the frame's middle, samples n and fft - n are
// added (for the cosines) or subtracted (for the sines) first, which halves the work:
//
//   Re_k = sum over n <= fft/2 of (x_n + x_{fft-n}) cos(2 pi n k / fft)
//   Im_k = sum over n <  fft/2 of (x_n - x_{fft-n}) sin(2 pi n k / fft)
#include "media/audio/log_mel.h"

#include <cmath>
#include <numbers>

#include "base/error.h"

namespace quern {
namespace {

constexpr double kHighestHz = 8000, kFloor = 1e-10, kRange = 8;
constexpr int64_t kBatch = 4;  // frames that share one reading of the tables

void check(const MelShape& s) {
  const bool is_possible = s.rate_hz >= 1000 && s.rate_hz <= 48000 && s.fft >= 16 &&
                           s.fft <= 4096 && s.hop >= 16 && s.hop <= s.fft && s.bands >= 1 &&
                           s.bands <= 512 && s.window > s.fft && s.window <= int64_t{1} << 22;
  if (!is_possible)
    fail(ErrorCode::data_loss,
         "mel features at {} Hz, n_fft {}, hop_length {}, {} bands, windows of {} samples: "
         "expected 1000 to 48000 Hz, 16 to 4096, 16 to n_fft, 1 to 512, n_fft + 1 to 2^22",
         s.rate_hz,
         s.fft,
         s.hop,
         s.bands,
         s.window);
}

}  // namespace

LogMel::LogMel(const MelShape& shape) : shape_(shape) {
  check(shape_);
  const int64_t lines = shape_.fft / 2 + 1, half = shape_.fft / 2 + 1;
  const auto angle = [&](int64_t i) {
    return 2 * std::numbers::pi * static_cast<double>(i % shape_.fft) /
           static_cast<double>(shape_.fft);
  };
  for (int64_t n = 0; n < shape_.fft; ++n) hann_.push_back(0.5 - 0.5 * std::cos(angle(n)));
  for (int64_t n = 0; n < half; ++n)
    for (int64_t k = 0; k < lines; ++k) {
      cosine_.push_back(std::cos(angle(n * k)));
      sine_.push_back(std::sin(angle(n * k)));
    }
  filters_ = slaney_bands(shape_.rate_hz, shape_.fft, shape_.bands, kHighestHz);
}

// The power of every line, of a few frames at once.
class LogMel::Spectrum {
 public:
  explicit Spectrum(const LogMel& mel)
      : mel_(mel),
        lines_(mel.shape_.fft / 2 + 1),
        re_(static_cast<size_t>(kBatch * lines_)),
        im_(re_.size()),
        even_(re_.size()),
        odd_(re_.size()) {}

  // Frame `f` of the batch: fft samples.
  void put(int64_t f, const float* samples) {
    const int64_t fft = mel_.shape_.fft;
    const auto windowed = [&](int64_t n) {
      return samples[n] * mel_.hann_[static_cast<size_t>(n)];
    };
    for (int64_t n = 0; n < lines_; ++n) {
      const bool is_alone = n == 0 || 2 * n == fft;  // its own mirror
      const double left = windowed(n), right = is_alone ? 0 : windowed(fft - n);
      even_[static_cast<size_t>(f * lines_ + n)] = left + right;
      odd_[static_cast<size_t>(f * lines_ + n)] = is_alone ? 0 : left - right;
    }
  }

  void transform(int64_t frames) {
    std::ranges::fill(re_, 0);
    std::ranges::fill(im_, 0);
    for (int64_t n = 0; n < lines_; ++n)
      for (int64_t f = 0; f < frames; ++f) {
        add(even_[static_cast<size_t>(f * lines_ + n)], &mel_.cosine_[row(n)], &re_[row(f)]);
        add(odd_[static_cast<size_t>(f * lines_ + n)], &mel_.sine_[row(n)], &im_[row(f)]);
      }
  }

  double band(int64_t f, const BandFilter& filter) const {
    double sum = 0;
    for (size_t i = 0; i < filter.weights.size(); ++i) {
      const size_t at = row(f) + static_cast<size_t>(filter.first) + i;
      sum += filter.weights[i] * (re_[at] * re_[at] + im_[at] * im_[at]);
    }
    return sum;
  }

 private:
  size_t row(int64_t i) const { return static_cast<size_t>(i * lines_); }
  void add(double factor, const double* table, double* sums) const {
    for (int64_t k = 0; k < lines_; ++k) sums[k] += factor * table[k];
  }

  const LogMel& mel_;
  const int64_t lines_;
  std::vector<double> re_, im_, even_, odd_;  // [kBatch, lines]
};

std::vector<float> LogMel::features(std::span<const float> samples, int64_t window) const {
  const int64_t count = static_cast<int64_t>(samples.size()), half = shape_.fft / 2;
  QUERN_CHECK(count <= window && window >= shape_.window,
              "{} samples in a window of {}, of {} at least",
              count,
              window,
              shape_.window);
  // The window with `half` mirrored samples at both ends.
  std::vector<float> padded(static_cast<size_t>(window + 2 * half), 0.0f);
  for (int64_t i = 0; i < static_cast<int64_t>(padded.size()); ++i) {
    int64_t at = std::abs(i - half);
    if (at >= window) at = 2 * (window - 1) - at;
    if (at < count) padded[static_cast<size_t>(i)] = samples[static_cast<size_t>(at)];
  }
  const int64_t frames = window / shape_.hop;
  std::vector<double> logs(static_cast<size_t>(frames * shape_.bands), std::log10(kFloor));
  Spectrum spectrum(*this);
  for (int64_t first = 0; first < frames; first += kBatch) {
    const int64_t batch = std::min(kBatch, frames - first);
    const float* at = padded.data() + first * shape_.hop;
    const int64_t length = (batch - 1) * shape_.hop + shape_.fft;
    if (std::all_of(at, at + length, [](float x) { return x == 0; })) continue;
    for (int64_t f = 0; f < batch; ++f) spectrum.put(f, at + f * shape_.hop);
    spectrum.transform(batch);
    for (int64_t f = 0; f < batch; ++f)
      for (int64_t b = 0; b < shape_.bands; ++b)
        logs[static_cast<size_t>((first + f) * shape_.bands + b)] =
            std::log10(std::max(spectrum.band(f, filters_[static_cast<size_t>(b)]), kFloor));
  }
  const double least = *std::ranges::max_element(logs) - kRange;
  std::vector<float> out;
  out.reserve(logs.size());
  for (const double value : logs)
    out.push_back(static_cast<float>((std::max(value, least) + 4) / 4));
  return out;
}

}  // namespace quern
