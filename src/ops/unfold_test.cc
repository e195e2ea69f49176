// SPDX-License-Identifier: Apache-2.0
// Frames under the taps of a convolution against plain loops, and a convolution made of them.
#include "ops/unfold.h"

#include "base/error.h"
#include "ops/matmul.h"
#include "ops/test_machine.h"

namespace quern::ops {
namespace {

// What the header says, value by value.
std::vector<float> plain(const Tensor& x, const TapLayout& layout) {
  std::vector<float> out;
  for (int64_t t = 0; t < layout.outputs(x.dim(0)); ++t)
    for (int64_t c = 0; c < x.dim(1); ++c)
      for (int64_t tap = 0; tap < layout.taps; ++tap) {
        const int64_t frame = t * layout.stride + tap * layout.dilation - layout.padding;
        const bool is_inside = frame >= 0 && frame < x.dim(0);
        out.push_back(is_inside ? x.data<float>()[frame * x.stride(0) + c] : 0);
      }
  return out;
}

TEST(Unfold, EveryLayoutAgreesWithPlainLoops) {
  for (const Isa isa : {Isa::scalar, probe_topology().isa})
    for (const int64_t frames : {1, 2, 3, 7, 64})
      for (const int64_t channels : {1, 3, 80})
        for (const TapLayout layout :
             {TapLayout{.taps = 3, .stride = 1, .padding = 1},
              TapLayout{.taps = 3, .stride = 2, .padding = 1},
              TapLayout{.taps = 1, .stride = 1, .padding = 0},
              TapLayout{.taps = 5, .stride = 3, .padding = 2},
              TapLayout{.taps = 3, .padding = 2, .dilation = 2},
              TapLayout{.taps = 3, .stride = 2, .padding = 5, .dilation = 5}}) {
          Machine machine(isa);
          const Tensor x = random_tensor({frames, channels + 2}, 1).slice(1, 1, channels + 1);
          const Tensor y = unfold(machine.ctx, x, layout);
          EXPECT_EQ(y.shape(), Shape({layout.outputs(frames), channels * layout.taps}));
          EXPECT_TRUE(std::ranges::equal(y.span<float>(), plain(x, layout)))
              << frames << " frames, " << channels << " channels, " << layout.taps << " taps";
        }
}

// Conv1d as its definition has it: y[t, o] = sum over c, i of w[o, c, i] x[t * stride + i - pad,
// c].
TEST(Unfold, AProductWithItIsAConvolution) {
  Machine machine(Isa::scalar);
  const TapLayout layout{.taps = 3, .stride = 2, .padding = 1};
  constexpr int64_t kFrames = 9, kIn = 4, kOut = 5;
  const Tensor x = random_tensor({kFrames, kIn}, 2), w = random_tensor({kOut, kIn * 3}, 3);
  QuantMatrix matrix;
  matrix.codes = w;
  matrix.code_bits = 32;
  const auto packed = pack_weight(machine.ctx, {matrix});
  const Tensor y = matmul(machine.ctx, unfold(machine.ctx, x, layout), *packed);
  ASSERT_EQ(y.shape(), Shape({layout.outputs(kFrames), kOut}));
  for (int64_t t = 0; t < y.dim(0); ++t)
    for (int64_t o = 0; o < kOut; ++o) {
      double sum = 0;
      for (int64_t i = 0; i < 3; ++i)
        for (int64_t c = 0; c < kIn; ++c) {
          const int64_t frame = t * 2 + i - 1;
          if (frame < 0 || frame >= kFrames) continue;
          sum += double{w.data<float>()[(o * kIn + c) * 3 + i]} * x.data<float>()[frame * kIn + c];
        }
      EXPECT_NEAR(y.data<float>()[t * kOut + o], sum, 1e-5);
    }
}

TEST(UnfoldPlane, EveryLayoutAgreesWithPlainLoops) {
  const PlaneTaps layouts[] = {
      {.time = {.taps = 3, .padding = 1}, .bands = {.taps = 3, .stride = 2, .padding = 1}},
      {.time = {.taps = 2, .stride = 3, .padding = 2, .dilation = 2}, .bands = {}},
      {.time = {}, .bands = {.taps = 1, .stride = 2}}};
  Machine machine(Isa::scalar);
  const Tensor x = random_tensor({7, 5, 3}, 1);
  const auto value = [&](int64_t t, int64_t f, int64_t c) {
    const bool is_inside = t >= 0 && t < 7 && f >= 0 && f < 5;
    return is_inside ? x.data<float>()[(t * 5 + f) * 3 + c] : 0;
  };
  for (const PlaneTaps& layout : layouts) {
    const int64_t frames = layout.time.outputs(7);
    std::vector<float> expected;
    for (int64_t t = 1; t < frames; ++t)
      for (int64_t f = 0; f < layout.bands.outputs(5); ++f)
        for (int64_t i = 0; i < layout.time.taps; ++i)
          for (int64_t j = 0; j < layout.bands.taps; ++j)
            for (int64_t c = 0; c < 3; ++c)
              expected.push_back(
                  value(t * layout.time.stride + i * layout.time.dilation - layout.time.padding,
                        f * layout.bands.stride + j * layout.bands.dilation - layout.bands.padding,
                        c));
    const Tensor y = unfold_plane(machine.ctx, x, layout, 1, frames);
    EXPECT_TRUE(std::ranges::equal(y.span<float>(), expected));
    EXPECT_EQ(y.dim(0), (frames - 1) * layout.bands.outputs(5));
  }
}

TEST(Unfold, OnMetaItIsAShape) {
  MetaMachine machine(Isa::avx2);
  const Tensor x = Tensor::empty({3000, 128}, DType::f32, Device::meta());
  EXPECT_EQ(unfold(machine.ctx, x, {.taps = 3, .stride = 2, .padding = 1}).shape(),
            Shape({1500, 384}));
  const Tensor plane = Tensor::empty({60, 80, 8}, DType::f32, Device::meta());
  const PlaneTaps taps{.time = {.taps = 3, .padding = 1},
                       .bands = {.taps = 3, .stride = 2, .padding = 1}};
  EXPECT_EQ(unfold_plane(machine.ctx, plane, taps, 10, 60).shape(), Shape({2000, 72}));
}

}  // namespace
}  // namespace quern::ops
