// SPDX-License-Identifier: Apache-2.0
// What diffusion transformers and vocoders do to rows: modulated norms, gates, norms over time,
// waves. Every tier against its definition.
#include <cmath>

#include "ops/elementwise.h"
#include "ops/norm.h"
#include "ops/test_machine.h"

namespace quern::ops {
namespace {

constexpr int32_t kSegments[] = {0, 3, 3, 10};  // the second is empty

TEST(Modulation, EverySegmentHasItsOwnShiftAndScale) {
  for (const Isa isa : all_tiers())
    for (const int64_t width : {2, 17, 64}) {
      Machine m(isa, 3);
      const Tensor x = random_tensor({10, width}, 1, 2.0f), both = random_tensor({3, 2 * width}, 2);
      const Tensor shift = both.slice(1, 0, width), scale = both.slice(1, width, 2 * width);
      const Tensor y = modulated_norm(m.ctx, x, {shift, scale, kSegments}, 1e-6f);
      for (int64_t t = 0; t < 10; ++t) {
        const int64_t s = t < 3 ? 0 : 2;
        Tensor weight = Tensor::empty({width}, DType::f32),
               bias = Tensor::empty({width}, DType::f32);
        for (int64_t c = 0; c < width; ++c) {
          weight.data<float>()[c] = 1 + scale.data<float>()[s * scale.stride(0) + c];
          bias.data<float>()[c] = shift.data<float>()[s * shift.stride(0) + c];
        }
        EXPECT_TRUE(same_bits(y.slice(0, t, t + 1),
                              layer_norm(m.ctx, x.slice(0, t, t + 1), weight, bias, 1e-6f)));
      }
    }
}

TEST(Modulation, EverySegmentHasItsOwnGate) {
  for (const Isa isa : all_tiers()) {
    Machine m(isa, 2);
    const Tensor before = random_tensor({10, 33}, 3), y = random_tensor({10, 33}, 4),
                 gate = random_tensor({3, 33}, 5);
    Tensor x = Tensor::from(before.span<float>(), before.shape());
    add_gated_(m.ctx, x, y, gate, kSegments);
    for (int64_t t = 0; t < 10; ++t)
      for (int64_t c = 0; c < 33; ++c) {
        const int64_t i = t * 33 + c;
        EXPECT_NEAR(x.data<float>()[i],
                    double{before.data<float>()[i]} +
                        double{gate.data<float>()[(t < 3 ? 0 : 2) * 33 + c]} * y.data<float>()[i],
                    1e-6);
      }
  }
}

// Norms run over time, not over the channels of a row.
TEST(ResponseNorm, AgreesWithItsDefinition) {
  for (const Isa isa : all_tiers()) {
    Machine one(isa, 1), three(isa, 3);
    constexpr int64_t kRows = 21, kSize = 37;
    const Tensor before = random_tensor({kRows, kSize}, 6, 2.0f), gamma = random_tensor({kSize}, 7),
                 beta = random_tensor({kSize}, 8);
    Tensor x = Tensor::from(before.span<float>(), before.shape()),
           y = Tensor::from(before.span<float>(), before.shape());
    response_norm_(one.ctx, x, gamma, beta, 1e-6f);
    response_norm_(three.ctx, y, gamma, beta, 1e-6f);
    EXPECT_TRUE(same_bits(x, y));
    std::vector<double> g(kSize);
    double mean = 0;
    for (int64_t c = 0; c < kSize; ++c) {
      for (int64_t t = 0; t < kRows; ++t)
        g[static_cast<size_t>(c)] += std::pow(before.data<float>()[t * kSize + c], 2.0);
      mean += (g[static_cast<size_t>(c)] = std::sqrt(g[static_cast<size_t>(c)])) / kSize;
    }
    for (int64_t i = 0; i < x.numel(); ++i) {
      const auto c = static_cast<size_t>(i % kSize);
      const double v = before.data<float>()[i];
      EXPECT_NEAR(x.data<float>()[i],
                  gamma.data<float>()[c] * (v * g[c] / (mean + 1e-6)) + beta.data<float>()[c] + v,
                  2e-5);
    }
  }
}

TEST(Waves, EluAndLeakyReluKeepTheRightSide) {
  const std::vector<float> values{-200, -30, -3, -0.5f, -1e-3f, -1e-6f, -0.0f, 0, 1e-6f, 2, 300};
  for (const Isa isa : all_tiers()) {
    Machine m(isa);
    Tensor elu = Tensor::from(values, {1, 11}), leaky = Tensor::from(values, {1, 11});
    elu_(m.ctx, elu);
    leaky_relu_(m.ctx, leaky, 0.1f);
    for (size_t i = 0; i < values.size(); ++i) {
      const double x = values[i], expected = x > 0 ? x : std::expm1(x);
      EXPECT_NEAR(elu.data<float>()[i], expected, 4 * kEps * std::abs(expected)) << x;
      EXPECT_FLOAT_EQ(leaky.data<float>()[i], values[i] > 0 ? values[i] : 0.1f * values[i]);
    }
    Tensor nan = Tensor::from(std::vector<float>{NAN}, {1, 1});
    elu_(m.ctx, nan);
    EXPECT_TRUE(std::isnan(nan.data<float>()[0]));
  }
}

TEST(Waves, SnakeIsAccurateForAnglesOfEverySize) {
  for (const Isa isa : all_tiers())
    for (const float spread : {0.1f, 3.0f, 100.0f, 10000.0f}) {
      Machine m(isa, 2);
      const Tensor x = random_tensor({40, 19}, 9, spread);
      Tensor alpha = random_tensor({19}, 10), inverse = Tensor::empty({19}, DType::f32);
      for (int64_t c = 0; c < 19; ++c)
        inverse.data<float>()[c] = 1.0f / (alpha.data<float>()[c] + 1e-9f);
      const Tensor y = snake(m.ctx, x, alpha, inverse);
      for (int64_t i = 0; i < x.numel(); ++i) {
        const int64_t c = i % 19;
        const float v = x.data<float>()[i], angle = alpha.data<float>()[c] * v;
        const double expected =
            v + inverse.data<float>()[c] * std::pow(std::sin(double{angle}), 2.0);
        EXPECT_NEAR(y.data<float>()[i],
                    expected,
                    2e-7 * (std::abs(expected) + std::abs(inverse.data<float>()[c])))
            << angle;
      }
    }
}

TEST(Waves, SnakeOfWhatIsNoAngle) {
  for (const Isa isa : all_tiers()) {
    Machine m(isa);
    const Tensor one = Tensor::from(std::vector<float>{1, 1}, {2});
    const Tensor y = snake(m.ctx, Tensor::from(std::vector<float>{NAN, 1e20f}, {1, 2}), one, one);
    EXPECT_TRUE(std::isnan(y.data<float>()[0]));
    EXPECT_EQ(y.data<float>()[1], 1e20f);
  }
}

}  // namespace
}  // namespace quern::ops
