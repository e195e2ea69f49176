// SPDX-License-Identifier: Apache-2.0
#include "ops/round.h"

#include <cmath>

#include "base/error.h"
#include "ops/test_machine.h"

namespace quern::ops {
namespace {

QuantMatrix plain(const Tensor& codes) {
  QuantMatrix w;
  w.codes = codes;
  return w;
}

TEST(RoundToInt8, EveryWeightMovesByHalfAStepAtMost) {
  Machine m(Isa::scalar, 2);
  const Tensor w = random_tensor({5, 300}, 1);
  const RoundedWeight rounded = round_to_int8(m.ctx, plain(w), 128);
  ASSERT_EQ(rounded.weight.scales.shape(), Shape({5, 3}));
  const Tensor back = dequantize(rounded.weight);
  double difference = 0, mass = 0;
  for (int64_t n = 0; n < 5; ++n)
    for (int64_t k = 0; k < 300; ++k) {
      const float step = f16_to_float(rounded.weight.scales.data<uint16_t>()[n * 3 + k / 128]);
      const float a = w.data<float>()[n * 300 + k], b = back.data<float>()[n * 300 + k];
      EXPECT_LE(std::abs(a - b),
                step * 0.57f);  // the last of 127 steps may be cut: f16 rounds the scale
      difference += double{a - b} * (a - b);
      mass += double{a} * a;
    }
  EXPECT_NEAR(rounded.squared_change, difference, difference * 1e-6);
  EXPECT_NEAR(rounded.squared_weight, mass, mass * 1e-6);
  EXPECT_LT(difference, mass * 1e-4);
}

TEST(RoundToInt8, ZerosStayZero) {
  Machine m(Isa::scalar, 1);
  const RoundedWeight rounded = round_to_int8(m.ctx, plain(Tensor::zeros({2, 8}, DType::bf16)));
  const Tensor back = dequantize(rounded.weight);
  for (const float value : back.span<float>()) EXPECT_EQ(value, 0.0f);
  EXPECT_EQ(rounded.squared_change, 0);
}

TEST(RoundToInt8, WhatIsNotFiniteIsRefused) {
  Machine m(Isa::scalar, 1);
  for (const float bad : {INFINITY, NAN, 1e30f}) {
    const Tensor w = random_tensor({3, 40}, 2);
    w.data<float>()[77] = bad;
    EXPECT_THROW(round_to_int8(m.ctx, plain(w)), Error) << bad;
  }
}

TEST(RoundToInt8, MetaHasTheSameShapes) {
  MetaMachine meta(Isa::scalar);
  const RoundedWeight rounded =
      round_to_int8(meta.ctx, plain(Tensor::empty({6, 200}, DType::bf16, Device::meta())));
  EXPECT_EQ(rounded.weight.codes.shape(), Shape({6, 200}));
  EXPECT_EQ(rounded.weight.scales.shape(), Shape({6, 2}));
}

}  // namespace
}  // namespace quern::ops
