// SPDX-License-Identifier: Apache-2.0
// Random numbers by counter: each depends on (seed, choice, position) alone, so a token is drawn
// alike in any batch, after a preemption and on a new worker, and noise by any number of threads.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace quern {

// The finalizer of SplitMix64 (Steele et al. 2014), a bijection in which every input bit moves
// every output bit.
inline uint64_t mix_bits(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// In [0, 1), a multiple of 2^-53.
inline double uniform(uint64_t seed, uint64_t choice, uint64_t position) {
  const uint64_t bits = mix_bits(mix_bits(mix_bits(seed) ^ choice) ^ position);
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

// A standard normal deviate, from two uniform ones. Box, Muller 1958.
inline double normal_deviate(uint64_t seed, uint64_t choice, uint64_t position) {
  const double size = uniform(seed, choice, 2 * position),
               angle = uniform(seed, choice, 2 * position + 1);
  return std::sqrt(-2 * std::log1p(-size)) * std::cos(2 * std::numbers::pi * angle);
}

}  // namespace quern
