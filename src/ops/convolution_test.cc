// SPDX-License-Identifier: Apache-2.0
// Convolutions over time against their definition in plain loops.
#include "ops/convolution.h"

#include "base/error.h"
#include "ops/test_machine.h"

namespace quern::ops {
namespace {

// y[t, n] = bias[n] + sum over c, i of w[n, c, i] x[t * stride + i * dilation - padding, c of the
// group of n].
Tensor plain(const Tensor& x,
             const Tensor& w,
             const Tensor& bias,
             const ConvolutionTaps& taps,
             int64_t groups) {
  const int64_t outputs = taps.outputs(x.dim(0)), rows = w.dim(0), channels = w.dim(1);
  Tensor y = Tensor::empty({outputs, rows}, DType::f32);
  for (int64_t t = 0; t < outputs; ++t)
    for (int64_t n = 0; n < rows; ++n) {
      double sum = bias.defined() ? bias.data<float>()[n] : 0;
      const int64_t first = n / (rows / groups) * channels;
      for (int64_t i = 0; i < taps.count; ++i) {
        const int64_t frame = t * taps.stride + i * taps.dilation - taps.padding;
        if (frame < 0 || frame >= x.dim(0)) continue;
        for (int64_t c = 0; c < channels; ++c)
          sum += double{w.data<float>()[(n * channels + c) * taps.count + i]} *
                 x.data<float>()[frame * x.stride(0) + first + c];
      }
      y.data<float>()[t * rows + n] = static_cast<float>(sum);
    }
  return y;
}

void expect_close(const Tensor& got, const Tensor& expected, const std::string& what) {
  ASSERT_EQ(got.shape(), expected.shape()) << what;
  for (int64_t i = 0; i < got.numel(); ++i)
    ASSERT_NEAR(got.data<float>()[i], expected.data<float>()[i], 2e-4) << what << " at " << i;
}

struct Case {
  int64_t frames, in, out, groups;
  ConvolutionTaps taps;
};

const Case kCases[] = {{9, 4, 5, 1, {.count = 3, .padding = 1}},
                       {1, 4, 5, 1, {.count = 3, .padding = 1}},
                       {40, 80, 33, 1, {.count = 7, .padding = 3}},
                       {40, 16, 16, 1, {.count = 1}},
                       {41, 8, 8, 1, {.count = 11, .dilation = 5, .padding = 25}},
                       {4, 8, 8, 1, {.count = 11, .dilation = 5, .padding = 25}},
                       {50, 6, 9, 3, {.count = 7, .dilation = 3, .padding = 9}},
                       {70, 64, 64, 16, {.count = 31, .padding = 15}},
                       {121, 18, 16, 1, {.count = 30, .stride = 15, .padding = 7}},
                       {121, 18, 7, 1, {.count = 6, .stride = 3, .padding = 1}},
                       {10, 3, 3, 3, {.count = 5, .dilation = 2}},
                       {3, 4, 4, 1, {.count = 5}}};  // no output at all

TEST(Convolution, EveryTierAgreesWithItsDefinition) {
  for (const Isa isa : all_tiers())
    for (const Case& c : kCases)
      for (const bool has_bias : {false, true}) {
        Machine m(isa);
        const Tensor x = random_tensor({c.frames, c.in + 3}, 1).slice(1, 2, c.in + 2),
                     w = random_tensor({c.out, c.in / c.groups, c.taps.count}, 2, 0.3f),
                     bias = has_bias ? random_tensor({c.out}, 3) : Tensor();
        const auto packed = pack_convolution(m.ctx, w, c.groups);
        expect_close(convolve(m.ctx, x, packed, bias, c.taps),
                     plain(x, w, bias, c.taps, c.groups),
                     quern::format("{} {} frames {} -> {}, {} taps, dilation {}",
                                   name_of(isa),
                                   c.frames,
                                   c.in,
                                   c.out,
                                   c.taps.count,
                                   c.taps.dilation));
      }
}

TEST(Convolution, ARowHasTheSameBitsInAnyLengthAndOnAnyThreads) {
  for (const Isa isa : all_tiers())
    for (const int64_t dilation : {1, 3}) {
      Machine one(isa, 1), three(isa, 3);
      const ConvolutionTaps taps{.count = 3, .dilation = dilation, .padding = dilation};
      const Tensor x = random_tensor({700, 24}, 4), w = random_tensor({24, 24, 3}, 5),
                   bias = random_tensor({24}, 6);
      const auto packed = pack_convolution(one.ctx, w);
      const Tensor all = convolve(three.ctx, x, packed, bias, taps);
      for (const int64_t frames : {1, 2, 5, 64, 700}) {
        const Tensor some = convolve(one.ctx, x.slice(0, 0, frames), packed, bias, taps);
        const int64_t inner = std::max<int64_t>(frames - dilation, 0);
        EXPECT_TRUE(same_bits(some.slice(0, 0, inner), all.slice(0, 0, inner))) << frames;
      }
    }
}

TEST(Convolution, ChannelsByThemselves) {
  for (const Isa isa : all_tiers())
    for (const int64_t frames : {1, 3, 50}) {
      Machine m(isa);
      const Tensor x = random_tensor({frames, 13}, 7), bias = random_tensor({13}, 8),
                   stored = random_tensor({13, 1, 7}, 9);
      Tensor turned = Tensor::empty({7, 13}, DType::f32);
      for (int64_t c = 0; c < 13; ++c)
        for (int64_t i = 0; i < 7; ++i)
          turned.data<float>()[i * 13 + c] = stored.data<float>()[c * 7 + i];
      expect_close(convolve_channels(m.ctx, x, turned, bias, 3),
                   plain(x, stored, bias, {.count = 7, .padding = 3}, 13),
                   "channels");
    }
}

// Every frame adds its taps where they fall.
TEST(Convolution, TransposedAddsWhatEveryFrameSpreads) {
  for (const Isa isa : all_tiers())
    for (const int64_t frames : {1, 2, 30})
      for (const ConvolutionTaps taps : {ConvolutionTaps{.count = 16, .stride = 8, .padding = 4},
                                         ConvolutionTaps{.count = 11, .stride = 5, .padding = 3},
                                         ConvolutionTaps{.count = 7, .stride = 3, .padding = 2},
                                         ConvolutionTaps{.count = 2, .stride = 3}}) {
        Machine m(isa);
        constexpr int64_t kIn = 12, kOut = 5;
        const Tensor x = random_tensor({frames, kIn}, 10), bias = random_tensor({kOut}, 11),
                     w = random_tensor({kIn, kOut, taps.count}, 12);
        const int64_t outputs = (frames - 1) * taps.stride + taps.count - 2 * taps.padding;
        std::vector<double> sums(static_cast<size_t>(outputs * kOut));
        for (int64_t t = 0; t < frames; ++t)
          for (int64_t i = 0; i < taps.count; ++i)
            for (int64_t n = 0; n < kOut; ++n) {
              const int64_t s = t * taps.stride + i - taps.padding;
              for (int64_t c = 0; c < kIn && s >= 0 && s < outputs; ++c)
                sums[static_cast<size_t>(s * kOut + n)] +=
                    double{x.data<float>()[t * kIn + c]} *
                    w.data<float>()[(c * kOut + n) * taps.count + i];
            }
        Tensor expected = Tensor::empty({outputs, kOut}, DType::f32);
        for (int64_t i = 0; i < expected.numel(); ++i)
          expected.data<float>()[i] =
              static_cast<float>(sums[static_cast<size_t>(i)]) + bias.data<float>()[i % kOut];
        const auto packed = pack_transposed_convolution(m.ctx, w);
        expect_close(convolve_transposed(m.ctx, x, *packed, bias, taps),
                     expected,
                     std::string(name_of(isa)));
      }
}

TEST(Convolution, OnMetaItIsAShape) {
  MetaMachine m(Isa::avx2);
  const Tensor x = Tensor::empty({90, 16}, DType::f32, Device::meta()),
               bias = Tensor::empty({16}, DType::f32, Device::meta());
  const auto packed =
      pack_convolution(m.ctx, Tensor::empty({16, 4, 3}, DType::f32, Device::meta()), 4);
  EXPECT_EQ(convolve(m.ctx, x, packed, bias, {.count = 3, .dilation = 4, .padding = 4}).shape(),
            Shape({90, 16}));
  const auto turned =
      pack_transposed_convolution(m.ctx, Tensor::empty({16, 16, 4}, DType::f32, Device::meta()));
  EXPECT_EQ(
      convolve_transposed(m.ctx, x, *turned, bias, {.count = 4, .stride = 2, .padding = 1}).shape(),
      Shape({180, 16}));
}

}  // namespace
}  // namespace quern::ops
