// SPDX-License-Identifier: Apache-2.0
// Triangular filters over the lines of a spectrum, spaced and normalised after Slaney: the bands of
// mel features.
#pragma once

#include <cstdint>
#include <vector>

namespace quern {

struct BandFilter {
  int64_t first = 0;            // line of the spectrum
  std::vector<double> weights;  // of this line and those behind it
};

// `bands` filters from 0 to `highest_hz` for frames of `fft` samples at `rate_hz`, each of area 1
// over hertz. A band that is narrower than the lines lie apart may have no weights.
std::vector<BandFilter> slaney_bands(int64_t rate_hz,
                                     int64_t fft,
                                     int64_t bands,
                                     double highest_hz);

}  // namespace quern
