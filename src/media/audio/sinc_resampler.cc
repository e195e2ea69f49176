// SPDX-License-Identifier: Apache-2.0
// Source of the numbers: torchaudio 2, functional.resample with its defaults (sinc_interp_hann,
// lowpass_filter_width 6, rolloff 0.99), after J. O. Smith, "Digital Audio Resampling".
//
// With the rates in lowest terms, from : to, output q to + p lies at input q from + c, c = p from /
// to. So there are `to` phases p, each with weights of its own for the inputs around c:
//
//   w(i) = b sinc(b (i - c)) cos²(pi b (i - c) / 12),   |b (i - c)| < 6,   b = 0.99 min(1, to /
//   from)
#include "media/audio/sinc_resampler.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "base/error.h"
#include "media/audio/sound.h"

namespace quern {
namespace {

constexpr double kCrossings = 6, kRollOff = 0.99;

// The weights of one phase: for the inputs from `first` on, counted from the phase's period.
struct Phase {
  int64_t first = 0;
  std::vector<float> weights;
};

Phase phase_of(double centre, double band) {
  const double reach = kCrossings / band;
  Phase phase{.first = static_cast<int64_t>(std::ceil(centre - reach)), .weights = {}};
  const auto last = static_cast<int64_t>(std::floor(centre + reach));
  for (int64_t i = phase.first; i <= last; ++i) {
    const double t = band * (static_cast<double>(i) - centre), angle = std::numbers::pi * t;
    const double window = std::cos(angle / (2 * kCrossings));
    const double sinc = t == 0 ? 1 : std::sin(angle) / angle;
    phase.weights.push_back(static_cast<float>(band * sinc * window * window));
  }
  return phase;
}

}  // namespace

std::vector<float> sinc_resample(std::span<const float> samples, int64_t from_hz, int64_t to_hz) {
  QUERN_CHECK(from_hz >= kLeastFileRate && from_hz <= kMostFileRate && to_hz >= kLeastFileRate &&
                  to_hz <= kMostSoundRate,
              "{} Hz to {} Hz",
              from_hz,
              to_hz);
  if (from_hz == to_hz) return {samples.begin(), samples.end()};
  const int64_t divisor = std::gcd(from_hz, to_hz), from = from_hz / divisor, to = to_hz / divisor;
  const auto count = static_cast<int64_t>(samples.size()), made = (count * to + from - 1) / from;
  const double band = kRollOff * std::min(1.0, static_cast<double>(to) / static_cast<double>(from));
  std::vector<Phase> phases;
  for (int64_t p = 0; p < std::min(to, made); ++p)
    phases.push_back(phase_of(static_cast<double>(p * from) / static_cast<double>(to), band));
  std::vector<float> out;
  out.reserve(static_cast<size_t>(made));
  for (int64_t n = 0; n < made; ++n) {
    const Phase& phase = phases[static_cast<size_t>(n % to)];
    const int64_t first = n / to * from + phase.first;
    const int64_t begin = std::max<int64_t>(0, -first),
                  end = std::min(static_cast<int64_t>(phase.weights.size()), count - first);
    double sum = 0;
    for (int64_t i = begin; i < end; ++i)
      sum +=
          double{phase.weights[static_cast<size_t>(i)]} * samples[static_cast<size_t>(first + i)];
    out.push_back(static_cast<float>(sum));
  }
  return out;
}

}  // namespace quern
