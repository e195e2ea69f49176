// SPDX-License-Identifier: Apache-2.0
// Weights rounded to whole numbers when they are loaded.
#pragma once

#include "tensor/ctx.h"
#include "tensor/quant_matrix.h"

namespace quern::ops {

struct RoundedWeight {
  QuantMatrix weight;  // i8 codes, f16 scales
  // Sums of squares: of what rounding changed, and of the weights.
  double squared_change = 0, squared_weight = 0;
};

// To the nearest of 255 whole numbers, symmetric about 0, with a scale for each row and `group`
// inputs (the largest weight of a group is 127). On meta: shapes. In parallel on ctx.pool. Throws
// data_loss for a weight that is not finite, or so large that its scale is beyond f16.
RoundedWeight round_to_int8(const Ctx& ctx, const QuantMatrix& w, int64_t group = 128);

}  // namespace quern::ops
