// SPDX-License-Identifier: Apache-2.0
// The parts of HiftVocoder that hold no convolution: a source of harmonics, and the short Fourier
// transform, 16 samples every 4, that takes it apart and puts the wave together. Private to the
// folder.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "tensor/ctx.h"

namespace quern {

inline constexpr int64_t kHiftSize = 16, kHiftHop = 4, kHiftBins = kHiftSize / 2 + 1;

// How harmonics become one signal, sample by sample: tanh(sum over h of weights[h] channel h +
// bias).
struct HarmonicMix {
  std::vector<float> weights;  // [H]
  float bias = 0;
};

// What is added to the harmonics. At most one of the two.
struct HarmonicNoise {
  std::span<const float> given = {};  // standard normal [samples, H]
  std::optional<uint64_t> seed = {};  // drawn from it
};

// f0 [T] in Hz -> [T * hop] at 24 kHz. Where f0 is above 10 Hz, sines of its multiples at a tenth
// of full scale with a little noise; else noise alone. Phases are summed in double. Wang et al. 2019
// (harmonic plus noise).
std::vector<float> harmonic_source(Ctx& ctx,
                                   std::span<const float> f0,
                                   const HarmonicMix& mix,
                                   const HarmonicNoise& noise,
                                   int64_t hop);

// Real parts, then imaginary parts of the 9 bins under a Hann window: [samples / 4 + 1, 18]. The
// signal is mirrored at its ends; samples is a multiple of 4 above 8.
Tensor short_spectrum(Ctx& ctx, std::span<const float> signal);

// The inverse: rows [F, 18] of logarithms of magnitudes (cut at 100 when raised), then numbers whose
// sines are the phases -> [(F - 1) * 4] samples, cut at +-0.99. At least 3 rows.
std::vector<float> wave_of(Ctx& ctx, const Tensor& spectrum);

}  // namespace quern
