// SPDX-License-Identifier: Apache-2.0
#include "models/glm_tts/hift_signal.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/random.h"

namespace quern {
namespace {

constexpr float kRateHz = 24000, kVoicedHz = 10;
constexpr double kSineSize = 0.1, kVoicedNoise = 0.003, kUnvoicedNoise = kSineSize / 3;
constexpr double kMostMagnitude = 100;
constexpr float kMostSample = 0.99f;
constexpr uint64_t kNoiseChoice = 1;  // of the random numbers of a seed
constexpr int64_t kGrain = 64;

// Periodic Hann window, and cos and sin of every angle of the transform.
struct WaveTables {
  WaveTables() {
    for (size_t n = 0; n < kHiftSize; ++n) {
      const double angle = 2 * std::numbers::pi * static_cast<double>(n) / kHiftSize;
      cos[n] = std::cos(angle);
      sin[n] = std::sin(angle);
      window[n] = static_cast<float>(0.5 - 0.5 * cos[n]);
    }
  }
  static size_t at(int64_t bin, int64_t n) { return static_cast<size_t>(bin * n % kHiftSize); }

  std::array<double, kHiftSize> cos, sin;
  std::array<float, kHiftSize> window;
};

// Turns that each harmonic has made by the end of each frame, [T, H]: its frequency once a frame,
// as the reference sees it.
std::vector<double> turns_of(std::span<const float> f0, size_t harmonics) {
  std::vector<double> out(f0.size() * harmonics);
  for (size_t t = 0; t < f0.size(); ++t)
    for (size_t h = 0; h < harmonics; ++h) {
      const float multiple = f0[t] * static_cast<float>(h + 1);
      const double before = t > 0 ? out[(t - 1) * harmonics + h] : 0;
      out[t * harmonics + h] = before + double{std::fmod(multiple / kRateHz, 1.0f)};
    }
  return out;
}

// Where a sample lies between the middles of two frames.
struct Between {
  Between(int64_t sample, int64_t hop, size_t frames) {
    const double place =
        std::max(0.0, (static_cast<double>(sample) + 0.5) / static_cast<double>(hop) - 0.5);
    left = static_cast<size_t>(place);
    right = std::min(left + 1, frames - 1);
    share = place - static_cast<double>(left);
  }
  size_t left, right;
  double share;  // of the right one
};

}  // namespace

std::vector<float> harmonic_source(Ctx& ctx,
                                   std::span<const float> f0,
                                   const HarmonicMix& mix,
                                   const HarmonicNoise& noise,
                                   int64_t hop) {
  const size_t harmonics = mix.weights.size();
  const auto frames = static_cast<int64_t>(f0.size());
  QUERN_CHECK(noise.given.empty() ||
                  noise.given.size() == f0.size() * static_cast<size_t>(hop) * harmonics,
              "{} values of noise",
              noise.given.size());
  const std::vector<double> turns = turns_of(f0, harmonics);
  std::vector<float> out(f0.size() * static_cast<size_t>(hop));
  const auto sample_of = [&](int64_t s) {
    const bool is_voiced = f0[static_cast<size_t>(s / hop)] > kVoicedHz;
    const Between at(s, hop, f0.size());
    double sum = mix.bias;
    for (size_t h = 0; h < harmonics; ++h) {
      double value = 0;
      if (is_voiced) {
        const double whole = std::lerp(
            turns[at.left * harmonics + h], turns[at.right * harmonics + h], at.share);
        const double part = static_cast<double>(hop) * whole;
        value = kSineSize * std::sin(2 * std::numbers::pi * (part - std::floor(part)));
      }
      const size_t index = static_cast<size_t>(s) * harmonics + h;
      const double size = is_voiced ? kVoicedNoise : kUnvoicedNoise;
      if (!noise.given.empty()) value += size * noise.given[index];
      if (noise.seed) value += size * normal_deviate(*noise.seed, kNoiseChoice, index);
      sum += value * mix.weights[h];
    }
    return static_cast<float>(std::tanh(sum));
  };
  ctx.pool->parallel_for(frames, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t s = begin * hop; s < end * hop; ++s) out[static_cast<size_t>(s)] = sample_of(s);
  });
  return out;
}

Tensor short_spectrum(Ctx& ctx, std::span<const float> signal) {
  const auto samples = static_cast<int64_t>(signal.size());
  QUERN_CHECK(samples % kHiftHop == 0 && samples > kHiftSize / 2, "{} samples", samples);
  const WaveTables tables;
  Tensor y = ctx.empty({samples / kHiftHop + 1, 2 * kHiftBins});
  const auto mirrored = [&](int64_t s) {
    const int64_t inside = std::abs(s);
    return signal[static_cast<size_t>(inside < samples ? inside : 2 * (samples - 1) - inside)];
  };
  ctx.pool->parallel_for(y.dim(0), kGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t f = begin; f < end; ++f) {
      float* out = y.data<float>() + f * 2 * kHiftBins;
      double x[kHiftSize];
      for (int64_t n = 0; n < kHiftSize; ++n)
        x[n] = mirrored(f * kHiftHop + n - kHiftSize / 2) * tables.window[static_cast<size_t>(n)];
      for (int64_t bin = 0; bin < kHiftBins; ++bin) {
        double real = 0, imaginary = 0;
        for (int64_t n = 0; n < kHiftSize; ++n) {
          real += x[n] * tables.cos[WaveTables::at(bin, n)];
          imaginary -= x[n] * tables.sin[WaveTables::at(bin, n)];
        }
        out[bin] = static_cast<float>(real);
        out[kHiftBins + bin] = static_cast<float>(imaginary);
      }
    }
  });
  return y;
}

namespace {

// One row of wave_of as 16 samples under the window.
void inverse_row(const WaveTables& tables, const float* row, float* out) {
  double real[kHiftBins], imaginary[kHiftBins];
  for (int64_t bin = 0; bin < kHiftBins; ++bin) {
    const double magnitude = std::min(double{std::exp(row[bin])}, kMostMagnitude),
                 phase = std::sin(row[kHiftBins + bin]);
    // Every bin between the first and the last stands for its mirror image too.
    const double copies = bin == 0 || bin == kHiftBins - 1 ? 1 : 2;
    real[bin] = copies * magnitude * std::cos(phase) / kHiftSize;
    imaginary[bin] = copies * magnitude * std::sin(phase) / kHiftSize;
  }
  for (int64_t n = 0; n < kHiftSize; ++n) {
    double sum = 0;
    for (int64_t bin = 0; bin < kHiftBins; ++bin)
      sum += real[bin] * tables.cos[WaveTables::at(bin, n)] -
             imaginary[bin] * tables.sin[WaveTables::at(bin, n)];
    out[n] = static_cast<float>(sum) * tables.window[static_cast<size_t>(n)];
  }
}

}  // namespace

std::vector<float> wave_of(Ctx& ctx, const Tensor& spectrum) {
  QUERN_CHECK(spectrum.rank() == 2 && spectrum.dim(1) == 2 * kHiftBins && spectrum.dim(0) > 2 &&
                  spectrum.is_contiguous(),
              "{}",
              spectrum.shape().text());
  const WaveTables tables;
  const int64_t frames = spectrum.dim(0);
  const Tensor parts = ctx.empty({frames, kHiftSize});
  ctx.pool->parallel_for(frames, kGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t f = begin; f < end; ++f)
      inverse_row(tables,
                  spectrum.data<float>() + f * 2 * kHiftBins,
                  parts.data<float>() + f * kHiftSize);
  });
  std::vector<float> out(static_cast<size_t>((frames - 1) * kHiftHop));
  ctx.pool->parallel_for(
      static_cast<int64_t>(out.size()), 4096, [&](int64_t begin, int64_t end, int) {
        for (int64_t s = begin; s < end; ++s) {
          const int64_t at = s + kHiftSize / 2, last = std::min(frames - 1, at / kHiftHop);
          const int64_t first = at < kHiftSize ? 0 : (at - kHiftSize) / kHiftHop + 1;
          double sum = 0, weight = 0;
          for (int64_t f = first; f <= last; ++f) {
            const int64_t n = at - f * kHiftHop;
            sum += parts.data<float>()[f * kHiftSize + n];
            weight += double{tables.window[static_cast<size_t>(n)]} *
                      tables.window[static_cast<size_t>(n)];
          }
          out[static_cast<size_t>(s)] =
              std::clamp(static_cast<float>(sum / weight), -kMostSample, kMostSample);
        }
      });
  return out;
}

}  // namespace quern
