// SPDX-License-Identifier: Apache-2.0
// A convolution over time is a product: each output frame is a row of weights times the frames that
// its taps lie on.
#pragma once

#include "tensor/ctx.h"

namespace quern::ops {

// How the taps of a kernel lie over frames: tap i of output t on frame t * stride + i * dilation -
// padding.
struct TapLayout {
  int64_t taps = 1, stride = 1, padding = 0, dilation = 1;

  int64_t outputs(int64_t frames) const {
    return (frames + 2 * padding - dilation * (taps - 1) - 1) / stride + 1;
  }
};

// x [T, C] float32, rows contiguous -> [outputs(T), C * taps]: column c * taps + i is channel c of
// the frame under tap i, zero where that is before the first or behind the last: the order in which
// a weight [out, C, taps] is stored. At least one output.
Tensor unfold(Ctx& ctx, const Tensor& x, const TapLayout& layout);

// A convolution over time and bands is one too. x [T, F, C] float32, contiguous -> the outputs of
// frames [first, end) of outputs(T), for every output band: [(end - first) * outputs(F), time.taps
// * bands.taps * C], column (i * bands.taps + j) * C + c under tap i over time and j over bands.
struct PlaneTaps {
  TapLayout time, bands;
};
Tensor unfold_plane(Ctx& ctx, const Tensor& x, const PlaneTaps& layout, int64_t first, int64_t end);

}  // namespace quern::ops
