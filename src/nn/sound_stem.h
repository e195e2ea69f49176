// SPDX-License-Identifier: Apache-2.0
// SoundStem: the two convolutions over time in front of Whisper's encoder and of its relatives',
// kernels of 3, the second with stride 2: frames x -> gelu(conv(gelu(conv(x)))).
#pragma once

#include "nn/builder.h"
#include "nn/vision_input.h"
#include "ops/elementwise.h"
#include "ops/unfold.h"

namespace quern {

class SoundStem {
 public:
  // b stands at the encoder: "conv1" [D, bands, 3] and "conv2" [D, D, 3] below it, with biases.
  SoundStem(const Builder& b, int64_t bands, int64_t width)
      : conv1_(b.whole({"conv1"}, width, bands * kFirst.taps, Bias::present)),
        conv2_(b.whole({"conv2"}, width, width * kSecond.taps, Bias::present)) {}

  // Rows that so many frames, at least one, become.
  static int64_t rows(int64_t frames) { return kSecond.outputs(kFirst.outputs(frames)); }
  // [rows(media.rows), D]
  Tensor operator()(Ctx& ctx, const MediaInput& media) const {
    return convolve(ctx, conv2_, convolve(ctx, conv1_, patch_values(ctx, media), kFirst), kSecond);
  }

 private:
  static constexpr ops::TapLayout kFirst{.taps = 3, .stride = 1, .padding = 1},
      kSecond{.taps = 3, .stride = 2, .padding = 1};

  static Tensor convolve(Ctx& ctx,
                         const Linear& conv,
                         const Tensor& x,
                         const ops::TapLayout& taps) {
    Tensor y = conv(ctx, ops::unfold(ctx, x, taps));
    ops::gelu_(ctx, y);
    return y;
  }

  Linear conv1_, conv2_;
};

}  // namespace quern
