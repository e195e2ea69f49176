// SPDX-License-Identifier: Apache-2.0
// Convolutions over time, frames x [T, C] in rows. One with many channels is a product that copies
// nothing: frames that follow each other lie behind each other, so the frames under the taps of an
// output are one long row, and rows of neighbours overlap.
//
//   frames   | 0 | 1 | 2 | 3 | 4 |      weights of an output, tap by tap
//   row 0    [-----------]               [ tap 0 | tap 1 | tap 2 ]
//   row 1        [-----------]
//
// Frames that a dilation of d puts under one output are d apart: they are sorted into d runs, each
// of which is then convolved without one.
#pragma once

#include <memory>
#include <vector>

#include "ops/matmul.h"
#include "tensor/ctx.h"

namespace quern::ops {

// Tap i of output t lies on frame t * stride + i * dilation - padding; beyond the ends frames are
// zero.
struct ConvolutionTaps {
  int64_t count = 1, stride = 1, dilation = 1, padding = 0;

  // At least 0.
  int64_t outputs(int64_t frames) const {
    const int64_t room = frames + 2 * padding - (count - 1) * dilation - 1;
    return room < 0 ? 0 : room / stride + 1;
  }
};

// weight [N, C / groups, taps] float32 as torch's Conv1d keeps it, packed for convolve(): one
// product for each group of channels. N and C are multiples of `groups`.
std::vector<std::unique_ptr<PackedWeight>> pack_convolution(const Ctx& ctx,
                                                            const Tensor& weight,
                                                            int64_t groups = 1);
// x [T, C] float32, rows contiguous -> [outputs(T), N]. bias [N] or undefined. A stride and a
// dilation above 1 do not go together. A row of the result depends on nothing but the frames under
// its taps.
Tensor convolve(Ctx& ctx,
                const Tensor& x,
                const std::vector<std::unique_ptr<PackedWeight>>& groups,
                const Tensor& bias,
                const ConvolutionTaps& taps);

// Each channel by itself: weight [taps, C], bias [C], both float32; stride and dilation 1.
Tensor convolve_channels(
    Ctx& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t padding);

// weight [C, N, taps] float32 as torch's ConvTranspose1d keeps it, packed for
// convolve_transposed(): [taps * N, C].
std::unique_ptr<PackedWeight> pack_transposed_convolution(const Ctx& ctx, const Tensor& weight);
// A transposed convolution: frame t adds to outputs t * stride + i - padding, for every tap i. x
// [T, C] -> [(T - 1) * stride + taps - 2 padding, N]; bias [N]. Terms of an output are added in the
// order of the frames. dilation 1.
Tensor convolve_transposed(Ctx& ctx,
                           const Tensor& x,
                           const PackedWeight& weight,
                           const Tensor& bias,
                           const ConvolutionTaps& taps);

}  // namespace quern::ops
