// SPDX-License-Identifier: Apache-2.0
// SoundStem: the two convolutions over time in front of Whisper's encoder and of its relatives',
// kernels of 3, the second with stride 2: frames x -> gelu(conv(gelu(conv(x)))).
#pragma once

#include "nn/builder.h"
#include "nn/vision_input.h"
#include "ops/elementwise.h"
#include "ops/unfold.h"

namespace quern {

// Which frames a row of a convolution sees: one to each side of its own, or its own and the two
// before it.
enum class StemSight : uint8_t { centred, causal };

class SoundStem {
 public:
  // b stands at the encoder: "conv1" [D, bands, 3] and "conv2" [D, D, 3] below it, with biases.
  SoundStem(const Builder& b, int64_t bands, int64_t width, StemSight sight = StemSight::centred)
      : conv1_(b.whole({"conv1"}, width, bands * kTaps, Bias::present)),
        conv2_(b.whole({"conv2"}, width, width * kTaps, Bias::present)),
        // Padding is at both ends: causal rows come first, and those that see the far end are cut.
        padding_(sight == StemSight::causal ? kTaps - 1 : 1) {}

  // Rows that so many frames, at least one, become.
  static int64_t rows(int64_t frames) { return (frames - 1) / kStride + 1; }
  // [rows(media.rows), D]
  Tensor operator()(Ctx& ctx, const MediaInput& media) const {
    const Tensor x = convolve(ctx, conv1_, patch_values(ctx, media), 1);
    return convolve(ctx, conv2_, x, kStride);
  }

 private:
  static constexpr int64_t kTaps = 3, kStride = 2;

  Tensor convolve(Ctx& ctx, const Linear& conv, const Tensor& x, int64_t stride) const {
    const ops::TapLayout taps{.taps = kTaps, .stride = stride, .padding = padding_};
    const int64_t rows = (x.dim(0) - 1) / stride + 1;
    Tensor y = conv(ctx, ops::unfold(ctx, x, taps).slice(0, 0, rows));
    ops::gelu_(ctx, y);
    return y;
  }

  Linear conv1_, conv2_;
  int64_t padding_;
};

}  // namespace quern
