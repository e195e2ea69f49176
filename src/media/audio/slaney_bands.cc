// SPDX-License-Identifier: Apache-2.0
// Source: Slaney 1998, "Auditory Toolbox".
#include "media/audio/slaney_bands.h"

#include <algorithm>
#include <cmath>

namespace quern {
namespace {

// Slaney's scale: 15 mels to 1000 Hz linearly, then 27 for each factor of 6.4.
constexpr double kLinearMels = 15, kLinearHz = 1000;
const double kMelsPerNeper = 27 / std::log(6.4);

double mels_of(double hz) {
  return hz < kLinearHz ? hz * kLinearMels / kLinearHz
                        : kLinearMels + std::log(hz / kLinearHz) * kMelsPerNeper;
}

double hz_of(double mels) {
  return mels < kLinearMels ? mels * kLinearHz / kLinearMels
                            : kLinearHz * std::exp((mels - kLinearMels) / kMelsPerNeper);
}

}  // namespace

std::vector<BandFilter> slaney_bands(int64_t rate_hz,
                                     int64_t fft,
                                     int64_t bands,
                                     double highest_hz) {
  const int64_t lines = fft / 2 + 1;
  std::vector<double> edges;  // hertz: filter b rises from edges[b] to b + 1 and falls to b + 2
  const double most = mels_of(highest_hz);
  for (int64_t i = 0; i < bands + 2; ++i)
    edges.push_back(hz_of(most * static_cast<double>(i) / static_cast<double>(bands + 1)));
  const auto nyquist = static_cast<double>(rate_hz / 2);
  std::vector<BandFilter> filters;
  for (size_t b = 0; b + 2 < edges.size(); ++b) {
    BandFilter filter;
    for (int64_t k = 0; k < lines; ++k) {
      const double hz = nyquist * static_cast<double>(k) / static_cast<double>(lines - 1);
      const double rising = (hz - edges[b]) / (edges[b + 1] - edges[b]);
      const double falling = (edges[b + 2] - hz) / (edges[b + 2] - edges[b + 1]);
      const double weight = std::min(rising, falling);
      if (weight <= 0) continue;
      if (filter.weights.empty()) filter.first = k;
      filter.weights.push_back(weight * 2 / (edges[b + 2] - edges[b]));
    }
    filters.push_back(std::move(filter));
  }
  return filters;
}

}  // namespace quern
