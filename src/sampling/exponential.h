// SPDX-License-Identifier: Apache-2.0
// exp for softmax: a loop over it is vectorised, and it gives the same bits on every CPU, which the
// system's expf does not.
#pragma once

#include <bit>
#include <cstdint>

namespace quern {

// e^x for x <= 0, relative error below 3e-7; 0 below the smallest normal number (and for -inf).
// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its series; 2^n by the exponent bits.
inline float exp_of_nonpositive(float x) {
  constexpr float kLowest = -87.3f, kLog2E = 1.44269504f,
                  kRound = 12582912.0f;  // 1.5 * 2^23: rounds to an integer
  constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;  // high * n is exact
  const float bounded = x > kLowest ? x : kLowest;
  const float shifted = bounded * kLog2E + kRound;
  const float n = shifted - kRound;
  const float r = (bounded - n * kLn2High) - n * kLn2Low;
  float series = 1.0f / 5040;
  series = series * r + 1.0f / 720;
  series = series * r + 1.0f / 120;
  series = series * r + 1.0f / 24;
  series = series * r + 1.0f / 6;
  series = series * r + 0.5f;
  series = series * r + 1.0f;
  series = series * r + 1.0f;
  const int32_t exponent = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound);
  const float power = std::bit_cast<float>((exponent + 127) << 23);
  return x > kLowest ? series * power : 0.0f;
}

}  // namespace quern
