// SPDX-License-Identifier: Apache-2.0
// Numbers against numbers, within a bound.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "verify/report.h"

namespace quern {

// A value holds within atol + rtol * |expected|; the mean of all differences within mean_limit, if
// that is not 0.
struct Bound {
  double atol = 0, rtol = 0, mean_limit = 0;
};

// `error` and `allowed` of the finding are those of the value that comes nearest to, or goes
// farthest beyond, its bound. A NaN differs from everything, also from a NaN.
Finding compare_values(std::string field,
                       std::span<const float> got,
                       std::span<const float> expected,
                       const Bound& bound);
// Bit for bit, but that 0 equals -0.
Finding compare_exactly(std::string field,
                        std::span<const float> got,
                        std::span<const float> expected);

// Whether `text` is `pattern`, in which a star stands for any text: how cases name their fields.
bool fits_pattern(std::string_view text, std::string_view pattern);

}  // namespace quern
