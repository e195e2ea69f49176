// SPDX-License-Identifier: Apache-2.0
// The broad ops: norms, activations, rope, copies, embedding. Every tier against the plain loops.
#include <cmath>
#include <functional>
#include <numeric>

#include "ops/elementwise.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/rope.h"
#include "ops/row_kernels.h"
#include "ops/test_machine.h"

namespace quern::ops {
namespace {

constexpr int64_t kWidths[] = {1, 2, 7, 8, 15, 16, 17, 31, 33, 64, 100, 576, 1537};

void expect_near(const Tensor& got,
                 const Tensor& expected,
                 float relative,
                 float absolute,
                 const std::string& what) {
  ASSERT_EQ(got.shape(), expected.shape()) << what;
  for (int64_t i = 0; i < got.numel(); ++i) {
    const float g = got.data<float>()[i], e = expected.data<float>()[i];
    if (std::isnan(e) && std::isnan(g)) continue;
    ASSERT_LE(std::abs(g - e), relative * std::abs(e) + absolute)
        << what << " at " << i << ": " << g << " for " << e;
  }
}

std::string label(Isa isa, int64_t width) {
  return quern::format("{} width {}", name_of(isa), width);
}

TEST(Norm, EveryTierAgreesWithThePlainLoops) {
  Machine plain(Isa::scalar);
  for (const Isa isa : fast_tiers())
    for (const int64_t width : kWidths) {
      Machine fast(isa);
      const Tensor x = random_tensor({5, width + 3}, 1, 3.0f).slice(1, 1, width + 1);
      const Tensor weight = random_tensor({width}, 2), bias = random_tensor({width}, 3);
      // Sums over the row: the error of the mean of squares is at most a few roundings per lane,
      // that of a difference from the mean is absolute.
      const float bound = (8 + static_cast<float>(width) / 8) * kEps;
      expect_near(rms_norm(fast.ctx, x, weight, 1e-6f),
                  rms_norm(plain.ctx, x, weight, 1e-6f),
                  bound,
                  0,
                  label(isa, width));
      if (width == 1) continue;  // a difference of equals: only its noise is left
      expect_near(layer_norm(fast.ctx, x, weight, bias, 1e-6f),
                  layer_norm(plain.ctx, x, weight, bias, 1e-6f),
                  bound,
                  64 * kEps + 4 * bound,
                  label(isa, width));
      expect_near(layer_norm(fast.ctx, x, weight, {}, 1e-6f),
                  layer_norm(plain.ctx, x, weight, {}, 1e-6f),
                  bound,
                  64 * kEps + 4 * bound,
                  label(isa, width));
    }
}

TEST(Norm, KnownValues) {
  for (const Isa isa : all_tiers()) {
    Machine m(isa);
    const Tensor x = Tensor::from(std::vector<float>{3, 4, 0, 0}, {1, 4}),
                 ones = Tensor::from(std::vector<float>{1, 1, 1, 2}, {4});
    const Tensor y = rms_norm(m.ctx, x, ones, 0);
    EXPECT_NEAR(y.data<float>()[0], 1.2f, 1e-6f);
    EXPECT_NEAR(y.data<float>()[1], 1.6f, 1e-6f);
    const Tensor z =
        layer_norm(m.ctx, Tensor::from(std::vector<float>{1, 2, 3, 6}, {1, 4}), ones, ones, 0);
    EXPECT_NEAR(z.data<float>()[0], 1 - 2 / std::sqrt(3.5f), 1e-6f);
    EXPECT_NEAR(z.data<float>()[3], 2 + 6 / std::sqrt(3.5f), 1e-6f);
  }
}

// Every magnitude from denormal to overflow, both signs.
Tensor sweep(int64_t width) {
  Tensor x = Tensor::empty({3, width}, DType::f32);
  for (int64_t i = 0; i < x.numel(); ++i) {
    const float t = static_cast<float>(i) / static_cast<float>(x.numel());
    x.data<float>()[i] = (i % 2 == 0 ? 1.0f : -1.0f) * std::pow(10.0f, -20 + 23 * t);
  }
  return x;
}

using InPlace = void (*)(Ctx&, Tensor&);
constexpr InPlace kActivations[] = {silu_, gelu_, gelu_tanh_, quick_gelu_, mish_};

TEST(Activation, EveryTierAgreesWithThePlainLoops) {
  Machine plain(Isa::scalar);
  for (const Isa isa : fast_tiers())
    for (const InPlace op : kActivations)
      for (const int64_t width : kWidths)
        for (const Tensor& source : {sweep(width), random_tensor({3, width}, 4, 3.0f)}) {
          Machine fast(isa);
          Tensor got = Tensor::from(source.span<float>(), source.shape()),
                 expected = Tensor::from(source.span<float>(), source.shape());
          op(fast.ctx, got);
          op(plain.ctx, expected);
          // In the left tail 1 + erf and its like are differences of near equals: the error is one
          // rounding of x itself.
          expect_near(got, expected, 16 * kEps, 8 * kEps, label(isa, width));
        }
}

TEST(Activation, LimitsAndNan) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const Isa isa : all_tiers())
    for (const InPlace op : kActivations) {
      Machine m(isa);
      Tensor x = Tensor::from(std::vector<float>{0, 100, -100, 1e30f, NAN, inf}, {1, 6});
      op(m.ctx, x);
      EXPECT_EQ(x.data<float>()[0], 0);
      EXPECT_EQ(x.data<float>()[1], 100);
      EXPECT_NEAR(x.data<float>()[2], 0, 1e-30f);
      EXPECT_EQ(x.data<float>()[3], 1e30f);
      EXPECT_TRUE(std::isnan(x.data<float>()[4]));
      EXPECT_EQ(x.data<float>()[5], inf);
    }
}

TEST(Activation, KnownValues) {
  for (const Isa isa : all_tiers()) {
    Machine m(isa);
    const float expected[] = {0.731058579f, 0.841344746f, 0.841191991f, 0.845795766f, 0.865098388f};
    for (size_t i = 0; i < std::size(kActivations); ++i) {
      Tensor x = Tensor::from(std::vector<float>{1}, {1});
      kActivations[i](m.ctx, x);
      EXPECT_NEAR(x.data<float>()[0], expected[i], 2e-7f) << i;
    }
    const Tensor y = silu_mul(m.ctx, Tensor::from(std::vector<float>{1, 0, 3, 4}, {1, 4}));
    EXPECT_NEAR(y.data<float>()[0], 3 * 0.731058579f, 1e-6f);
    EXPECT_EQ(y.data<float>()[1], 0);
  }
}

using Gated = Tensor (*)(Ctx&, const Tensor&);

TEST(Activation, GatedEveryTier) {
  Machine plain(Isa::scalar);
  for (const Isa isa : fast_tiers())
    for (const Gated op : {silu_mul, gelu_mul, gelu_tanh_mul})
      for (const int64_t width : kWidths) {
        Machine fast(isa);
        const Tensor x = random_tensor({4, 2 * width}, 5, 4.0f);
        expect_near(op(fast.ctx, x), op(plain.ctx, x), 16 * kEps, 32 * kEps, label(isa, width));
      }
}

TEST(Activation, GatedIsTheActivationOfTheLeftTimesTheRight) {
  for (const Isa isa : all_tiers()) {
    Machine m(isa);
    const Tensor x = random_tensor({3, 42}, 6, 2.0f);
    for (const auto& [gated, in_place] : {std::pair<Gated, InPlace>{silu_mul, silu_},
                                          {gelu_mul, gelu_},
                                          {gelu_tanh_mul, gelu_tanh_}}) {
      const Tensor y = gated(m.ctx, x);
      Tensor gate = x.slice(1, 0, 21).contiguous();
      in_place(m.ctx, gate);
      for (int64_t t = 0; t < 3; ++t)
        for (int64_t i = 0; i < 21; ++i)
          EXPECT_NEAR(y.data<float>()[t * 21 + i],
                      gate.data<float>()[t * 21 + i] * x.data<float>()[t * 42 + 21 + i],
                      1e-6f);
    }
  }
}

TEST(Rope, EveryTierAgreesWithThePlainLoops) {
  Machine plain(Isa::scalar);
  for (const Isa isa : fast_tiers())
    for (const RopeStyle style :
         {RopeStyle::half_split, RopeStyle::interleaved, RopeStyle::two_angles})
      for (const int64_t pairs : {1, 3, 8, 16, 20, 32, 40, 64}) {
        Machine fast(isa);
        const int64_t angles = style == RopeStyle::two_angles ? 2 * pairs : pairs;
        const Tensor cos = random_tensor({6, angles}, 6), sin = random_tensor({6, angles}, 7);
        const Tensor a = random_tensor({6, 5, 2 * pairs + 4}, 8),
                     b = Tensor::from(a.span<float>(), a.shape());
        Tensor x = a.slice(1, 1, 4), y = b.slice(1, 1, 4);
        rope_(fast.ctx, x, cos, sin, style);
        rope_(plain.ctx, y, cos, sin, style);
        expect_near(a,
                    b,
                    4 * kEps,
                    64 * kEps,
                    label(isa, pairs));  // includes the heads that must stay untouched
      }
}

TEST(Rope, AQuarterTurn) {
  for (const Isa isa : all_tiers()) {
    Machine m(isa);
    const Tensor cos = Tensor::from(std::vector<float>{0, 1}, {1, 2}),
                 sin = Tensor::from(std::vector<float>{1, 0}, {1, 2});
    Tensor x = Tensor::from(std::vector<float>{1, 2, 3, 4, 5}, {1, 1, 5});
    rope_(m.ctx, x, cos, sin, RopeStyle::half_split);
    EXPECT_TRUE(same_bits(x, Tensor::from(std::vector<float>{-3, 2, 1, 4, 5}, {1, 1, 5})));
    Tensor z = Tensor::from(std::vector<float>{1, 2, 3, 4, 5}, {1, 1, 5});
    rope_(m.ctx, z, cos, sin, RopeStyle::interleaved);
    EXPECT_TRUE(same_bits(z, Tensor::from(std::vector<float>{-2, 1, 3, 4, 5}, {1, 1, 5})));
  }
}

// The halves of a pair turn by angles of their own.
TEST(Rope, TwoAnglesPerPair) {
  for (const Isa isa : all_tiers()) {
    Machine m(isa);
    const Tensor cos = Tensor::from(std::vector<float>{0, 1, 1, 0}, {1, 4}),
                 sin = Tensor::from(std::vector<float>{1, 0, 0, 1}, {1, 4});
    Tensor x = Tensor::from(std::vector<float>{1, 2, 3, 4, 5}, {1, 1, 5});
    rope_(m.ctx, x, cos, sin, RopeStyle::two_angles);
    EXPECT_TRUE(same_bits(x, Tensor::from(std::vector<float>{-3, 2, 3, 2, 5}, {1, 1, 5})));
  }
}

TEST(Norm, HeadsAreNormedOneByOne) {
  for (const Isa isa : all_tiers()) {
    Machine m(isa);
    for (const int64_t width : {1, 8, 31, 128}) {
      const Tensor weight = random_tensor({width}, 2);
      const Tensor before = random_tensor({3, 6, width}, 1, 3.0f),
                   fused = Tensor::from(before.span<float>(), before.shape());
      Tensor part = fused.slice(1, 1, 4);
      rms_norm_heads_(m.ctx, part, weight, 1e-5f);
      for (int64_t t = 0; t < 3; ++t)
        for (int64_t h = 0; h < 6; ++h) {
          const Tensor row = before.select(0, t).slice(0, h, h + 1);
          const Tensor expected = h >= 1 && h < 4 ? rms_norm(m.ctx, row, weight, 1e-5f) : row;
          EXPECT_TRUE(same_bits(fused.select(0, t).slice(0, h, h + 1), expected))
              << label(isa, width);
        }
    }
  }
}

TEST(Rows, MixesAreWeightedSums) {
  for (const Isa isa : all_tiers()) {
    Machine m(isa);
    for (const int64_t width : kWidths) {
      const Tensor table = random_tensor({9, width}, 3);
      const RowMix mix{.taps = 3,
                       .rows = {8, 0, 8, 1, 2, 3},
                       .weights = {0.5f, -1.25f, 2.0f, 0.0f, 1.0f, 0.75f}};
      const Tensor y = mix_rows(m.ctx, table, mix);
      ASSERT_EQ(y.shape(), Shape({2, width}));
      for (int64_t i = 0; i < 2; ++i)
        for (int64_t d = 0; d < width; ++d) {
          double sum = 0;
          for (size_t j = 0; j < 3; ++j)
            sum += double{mix.weights[static_cast<size_t>(i) * 3 + j]} *
                   table.data<float>()[mix.rows[static_cast<size_t>(i) * 3 + j] * width + d];
          EXPECT_NEAR(y.data<float>()[i * width + d], sum, 8 * kEps * (1 + std::abs(sum)));
        }
      for (const DType half : {DType::bf16, DType::f16}) {
        const Tensor narrow = narrowed(table, half);
        EXPECT_TRUE(same_bits(mix_rows(m.ctx, narrow, mix), mix_rows(m.ctx, to_f32(narrow), mix)))
            << label(isa, width);
      }
    }
  }
}

TEST(Rows, GatherCopyAndAdd) {
  for (const Isa isa : all_tiers()) {
    Machine m(isa);
    for (const int64_t width : kWidths) {
      const Tensor x = random_tensor({7, width}, 9);
      const int32_t rows[] = {6, 0, 6};
      Tensor y = gather_rows(m.ctx, x, rows);
      EXPECT_TRUE(same_bits(y.slice(0, 0, 1), x.slice(0, 6, 7)));
      EXPECT_TRUE(same_bits(y.slice(0, 1, 2), x.slice(0, 0, 1)));
      copy_rows_(m.ctx, y, 1, x.slice(0, 2, 4));
      EXPECT_TRUE(same_bits(y.slice(0, 1, 3), x.slice(0, 2, 4)));
      Tensor sum = gather_rows(m.ctx, x, rows);
      add_(m.ctx, sum, y);
      for (int64_t i = 0; i < width; ++i)
        EXPECT_EQ(sum.data<float>()[width + i],
                  x.data<float>()[i] + x.data<float>()[2 * width + i]);
    }
  }
}

TEST(Rows, ConversionsRoundAsTheScalarFormsDo) {
  std::vector<float> values;
  for (uint32_t high = 0; high < 0x10000; high += 13)
    for (const uint32_t low : {0u, 0x1000u, 0x7fffu, 0x8000u, 0x8001u, 0xf000u})
      values.push_back(std::bit_cast<float>(high << 16 | low));
  const auto n = static_cast<int64_t>(values.size());
  const RowKernels& plain = row_kernels(Isa::scalar);
  std::vector<uint16_t> expected(values.size()), got(values.size());
  std::vector<float> wide(values.size()), expected_wide(values.size());
  for (const Isa isa : fast_tiers()) {
    const RowKernels& fast = row_kernels(isa);
    plain.narrow_bf16(values.data(), n, expected.data());
    fast.narrow_bf16(values.data(), n, got.data());
    EXPECT_EQ(got, expected) << name_of(isa);
    plain.widen_bf16(expected.data(), n, expected_wide.data());
    fast.widen_bf16(got.data(), n, wide.data());
    EXPECT_EQ(std::memcmp(wide.data(), expected_wide.data(), wide.size() * 4), 0) << name_of(isa);
    plain.narrow_f16(values.data(), n, expected.data());
    fast.narrow_f16(values.data(), n, got.data());
    for (size_t i = 0; i < got.size(); ++i)  // the bits of a NaN are free
      ASSERT_TRUE(got[i] == expected[i] || std::isnan(values[i]))
          << name_of(isa) << " " << values[i];
    plain.widen_f16(expected.data(), n, expected_wide.data());
    fast.widen_f16(expected.data(), n, wide.data());
    for (size_t i = 0; i < wide.size(); ++i)
      ASSERT_TRUE(wide[i] == expected_wide[i] || std::isnan(expected_wide[i]))
          << name_of(isa) << " " << expected[i];
  }
}

TEST(Rows, EmbeddingWidensEveryKind) {
  for (const Isa isa : all_tiers()) {
    Machine m(isa);
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      const Tensor table = narrowed(random_tensor({9, 33}, 10), dtype), wide = to_f32(table);
      const int32_t ids[] = {8, 0, 3, 3};
      const Tensor y = embedding(m.ctx, ids, table);
      for (int64_t t = 0; t < 4; ++t)
        EXPECT_TRUE(same_bits(y.select(0, t), wide.select(0, ids[t])));
    }
  }
}

TEST(Rows, ResultsArePutNearAndFar) {
  for (const Isa isa : all_tiers())
    for (const int64_t width : kWidths) {
      const Tensor x = random_tensor({width}, 1), bias = random_tensor({width}, 2);
      const Tensor near = Tensor::zeros({width}, DType::f32),
                   far = Tensor::zeros({width + 16}, DType::f32);
      const auto put = row_kernels(isa).put;
      put(x.data<float>(), bias.data<float>(), width, near.data<float>(), false);
      put(x.data<float>(), nullptr, width, far.data<float>(), true);
      for (int64_t i = 0; i < width; ++i) {
        ASSERT_EQ(near.data<float>()[i], x.data<float>()[i] + bias.data<float>()[i])
            << label(isa, width);
        ASSERT_EQ(far.data<float>()[i], x.data<float>()[i]) << label(isa, width);
      }
      for (int64_t i = 0; i < 16; ++i)
        ASSERT_EQ(far.data<float>()[width + i], 0) << label(isa, width);
    }
}

TEST(Rows, EmptyInputs) {
  for (const Isa isa : all_tiers()) {
    Machine m(isa);
    const Tensor none = Tensor::empty({0, 16}, DType::f32), weight = random_tensor({16}, 11);
    EXPECT_EQ(rms_norm(m.ctx, none, weight, 1e-6f).shape(), Shape({0, 16}));
    EXPECT_EQ(layer_norm(m.ctx, none, weight, {}, 1e-6f).shape(), Shape({0, 16}));
    EXPECT_EQ(silu_mul(m.ctx, none).shape(), Shape({0, 8}));
    EXPECT_EQ(gather_rows(m.ctx, none, {}).shape(), Shape({0, 16}));
    EXPECT_EQ(embedding(m.ctx, {}, weight.reshape({1, 16})).shape(), Shape({0, 16}));
    Tensor empty = none;
    for (const InPlace op : kActivations) op(m.ctx, empty);
    add_(m.ctx, empty, none);
  }
}

TEST(Rows, SameBitsAtAnyPlaceAndThreadCount) {
  for (const Isa isa : all_tiers()) {
    Machine one(isa, 1), three(isa, 3);
    const Tensor x = random_tensor({130, 100}, 12, 3.0f), weight = random_tensor({100}, 13);
    const Tensor all = rms_norm(three.ctx, x, weight, 1e-6f);
    Tensor gelu = Tensor::from(x.span<float>(), x.shape());
    gelu_(three.ctx, gelu);
    for (int64_t t = 0; t < 130; t += 9) {
      const Tensor row =
          Tensor::from(x.span<float>().subspan(static_cast<size_t>(t) * 100, 100), {1, 100});
      EXPECT_TRUE(same_bits(rms_norm(one.ctx, row, weight, 1e-6f), all.slice(0, t, t + 1)));
      Tensor tail =
          Tensor::from(x.span<float>().subspan(static_cast<size_t>(t) * 100 + 3, 97), {1, 97});
      gelu_(one.ctx, tail);
      EXPECT_TRUE(same_bits(tail, gelu.slice(0, t, t + 1).slice(1, 3, 100)));
    }
  }
}

TEST(Rows, MetaMakesShapesOnly) {
  MetaMachine meta(Isa::avx2);
  const Tensor x = Tensor::empty({3, 8}, DType::f32, Device::meta()),
               w = Tensor::empty({8}, DType::f32, Device::meta());
  EXPECT_EQ(rms_norm(meta.ctx, x, w, 1e-6f).shape(), Shape({3, 8}));
  EXPECT_EQ(silu_mul(meta.ctx, x).raw(), nullptr);
  const int32_t ids[] = {1, 2};
  EXPECT_EQ(embedding(meta.ctx, ids, x).shape(), Shape({2, 8}));
}

TEST(Rows, OtherDevicesAreUnsupported) {
  Machine m(Isa::scalar);
  m.ctx.device = {DeviceKind::cuda, 0};
  Tensor x = random_tensor({1, 4}, 1);
  try {
    gelu_(m.ctx, x);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::unsupported);
    EXPECT_THAT(
        e.message(),
        testing::AllOf(
            testing::HasSubstr("gelu_"), testing::HasSubstr("cuda"), testing::HasSubstr("f32")));
  }
}

}  // namespace
}  // namespace quern::ops
