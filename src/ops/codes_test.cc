// SPDX-License-Identifier: Apache-2.0
// The product over codes: every tier, kind of code and activation against the plain loops, and the
// promise that a row's bits depend on nothing but the row and the weight.
#include <cmath>

#include "ops/code_spec.h"
#include "ops/matmul.h"
#include "ops/test_machine.h"

namespace quern::ops {
namespace {

constexpr Activation kActivations[] = {
    Activation::f32, Activation::bf16, Activation::f16, Activation::int8};

// One way in which checkpoints store codes.
struct Case {
  const char* name;
  Coding coding;
  int bits;
  bool is_signed;  // i8 codes
  Offset offset;
  int64_t block_rows, block_cols, super_cols;
  DType scale;
  bool is_reordered = false;
};

constexpr Case kCases[] = {
    {"awq", Coding::integer, 4, false, Offset::zero_point, 1, 128, 0, DType::f16},
    {"gptq8 by column", Coding::integer, 8, false, Offset::zero_point, 1, 0, 0, DType::f16},
    {"act order", Coding::integer, 4, false, Offset::zero_point, 1, 32, 0, DType::f16, true},
    {"3 bits", Coding::integer, 3, false, Offset::zero_point, 1, 64, 0, DType::f32},
    {"symmetric int4", Coding::integer, 4, true, Offset::none, 1, 32, 0, DType::bf16},
    {"int8 g48", Coding::integer, 8, true, Offset::none, 1, 48, 0, DType::f32},
    {"q4_1", Coding::integer, 4, false, Offset::minimum, 1, 32, 0, DType::f16},
    {"q5_0", Coding::integer, 5, true, Offset::none, 1, 32, 0, DType::f16},
    {"q4_k", Coding::integer, 4, false, Offset::minimum, 1, 32, 256, DType::u8},
    {"q6_k", Coding::integer, 6, true, Offset::none, 1, 16, 256, DType::i8},
    {"nf4", Coding::table, 4, false, Offset::none, 1, 64, 0, DType::f32},
    {"fp8 by block", Coding::plain, 8, false, Offset::none, 48, 128, 0, DType::f32},
    {"fp8 by tensor", Coding::plain, 8, false, Offset::none, 0, 0, 0, DType::bf16},
};

int64_t blocks(int64_t length, int64_t block) {
  return block == 0 ? 1 : (length + block - 1) / block;
}

Tensor random_grid(const Shape& shape, DType dtype, uint32_t seed) {
  std::mt19937 engine(seed);
  if (dtype != DType::u8 && dtype != DType::i8)
    return narrowed(random_tensor(shape, seed, 0.02f), dtype);
  Tensor out = Tensor::empty(shape, dtype);
  for (int64_t i = 0; i < out.numel(); ++i)
    out.data<uint8_t>()[i] =
        static_cast<uint8_t>(dtype == DType::u8 ? engine() % 64 : engine() % 256);
  return out;
}

QuantMatrix make(const Case& c, int64_t rows, int64_t cols, uint32_t seed) {
  std::mt19937 engine(seed);
  QuantMatrix w;
  w.coding = c.coding;
  w.code_bits = c.bits;
  const DType codes = c.coding == Coding::plain ? DType::f8_e4m3
                      : c.is_signed             ? DType::i8
                                                : DType::u8;
  w.codes = Tensor::empty({rows, cols}, codes);
  for (int64_t i = 0; i < w.codes.numel(); ++i) {
    uint32_t code = engine() % (1u << c.bits);
    if (c.is_signed) code -= 1u << (c.bits - 1);
    if (codes == DType::f8_e4m3 && (code & 0x7f) == 0x7f) code = 1;  // no NaN; a subnormal
    w.codes.data<uint8_t>()[i] = static_cast<uint8_t>(code);
  }
  if (c.coding == Coding::table)
    for (int i = 0; i < 16; ++i) w.table.push_back(std::sin(static_cast<float>(i)) * 1.37f);
  w.block_rows = c.block_rows;
  w.block_cols = c.block_cols;
  const Shape grid{blocks(rows, c.block_rows), blocks(cols, c.block_cols)};
  w.scales = random_grid(grid, c.scale, seed + 1);
  w.offset = c.offset;
  if (c.offset == Offset::minimum) w.minimums = random_grid(grid, c.scale, seed + 2);
  if (c.offset == Offset::zero_point) {
    w.zeros = Tensor::empty(grid, DType::u8);
    for (uint8_t& zero : w.zeros.span<uint8_t>())
      zero = static_cast<uint8_t>(engine() % (1u << c.bits));
  }
  if (c.super_cols > 0) {
    w.super_cols = c.super_cols;
    const Shape super{rows, blocks(cols, c.super_cols)};
    w.super_scales = narrowed(random_tensor(super, seed + 3, 0.001f), DType::f16);
    if (c.offset == Offset::minimum)
      w.super_minimums = narrowed(random_tensor(super, seed + 4, 0.001f), DType::f16);
  }
  if (c.is_reordered)
    for (int64_t k = 0; k < cols; ++k)
      w.column_order.push_back(static_cast<int32_t>((k * 77 + 5) % cols));
  return w;
}

// What a weight could be at most, so that the rounding of a sum of scaled codes and offsets is
// bounded.
float reach(const Case& c, const Tensor& weights) {
  float most = 0;
  for (const float w : weights.span<float>()) most = std::max(most, std::abs(w));
  return most * (c.offset == Offset::none ? 1.0f : 4.0f);
}

void expect_near(const Tensor& got,
                 const Tensor& expected,
                 const Tensor& x,
                 float reach,
                 const std::string& what) {
  ASSERT_EQ(got.shape(), expected.shape());
  const int64_t k_size = x.dim(1);
  for (int64_t t = 0; t < got.dim(0); ++t) {
    double mass = 0;
    for (int64_t k = 0; k < k_size; ++k)
      mass += std::abs(double{x.data<float>()[t * k_size + k]}) * reach;
    const double steps = static_cast<double>(std::min<int64_t>(k_size, 128) + k_size / 16 + 4);
    for (int64_t n = 0; n < got.dim(1); ++n)
      ASSERT_NEAR(got.data<float>()[t * got.dim(1) + n],
                  expected.data<float>()[t * got.dim(1) + n],
                  steps * kEps * mass)
          << what << " row " << t << " column " << n;
  }
}

// What the plain loops must do to mean the same: under int8, weights that are no whole numbers meet
// inputs in bf16 where the tier multiplies it, and exact ones elsewhere.
Activation meaning(const Case& c, Activation activation, Isa isa) {
  if (activation != Activation::int8 || c.coding == Coding::integer) return activation;
  return isa >= Isa::avx512_bf16 ? Activation::bf16 : Activation::f32;
}

// What the plain loops must be given to mean the same: codes that are looked up are rounded to
// bf16, scales and all.
QuantMatrix meaning(const QuantMatrix& w, Activation activation, Isa isa) {
  if (!code_spec(w, activation, isa)->is_looked_up) return w;
  QuantMatrix out;
  out.codes = narrowed(dequantize(w), DType::bf16);
  return out;
}

TEST(Codes, EveryTierAgreesWithThePlainLoops) {
  const struct {
    int64_t t, k, n;
  } shapes[] = {
      {1, 128, 64}, {2, 256, 5}, {3, 512, 130}, {13, 768, 96}, {30, 1280, 70}, {270, 640, 200}};
  for (const Activation activation : kActivations)
    for (const Isa isa : fast_tiers())
      for (const Case& c : kCases)
        for (const auto [t, k, n] : shapes) {
          Machine slow(Isa::scalar, 2, meaning(c, activation, isa)), fast(isa, 2, activation);
          const Tensor x = random_tensor({t, k}, 1), bias = random_tensor({n}, 3);
          const QuantMatrix w = make(c, n, k, 7);
          const auto a = pack_weight(slow.ctx, {meaning(w, activation, isa)}),
                     b = pack_weight(fast.ctx, {w});
          EXPECT_LT(b->bytes(), (n + 63) / 64 * 64 * k * 2);
          const std::string what =
              quern::format("{} {} [{}, {}] x {}", c.name, b->kernel(), n, k, t);
          expect_near(matmul(fast.ctx, x, *b, bias),
                      matmul(slow.ctx, x, *a, bias),
                      x,
                      reach(c, dequantize(w)),
                      what);
        }
}

TEST(Codes, ExactInputsGiveTheDequantizedProduct) {
  for (const Case& c : kCases) {
    Machine m(Isa::scalar, 1, Activation::f32);
    const QuantMatrix w = make(c, 9, 256, 3);
    QuantMatrix wide;
    wide.codes = dequantize(w);
    const Tensor x = random_tensor({2, 256}, 4);
    EXPECT_TRUE(same_bits(matmul(m.ctx, x, *pack_weight(m.ctx, {w})),
                          matmul(m.ctx, x, *pack_weight(m.ctx, {wide}))))
        << c.name;
  }
}

TEST(Codes, LastGroupsMayBePartial) {
  for (const Activation activation : kActivations)
    for (const Isa isa : fast_tiers())
      for (const Case& c : kCases)
        for (const int64_t k : {int64_t{3}, int64_t{100}, int64_t{201}, int64_t{1030}}) {
          if (c.is_reordered && k % 7 == 0) continue;
          Machine slow(Isa::scalar, 1, meaning(c, activation, isa)), fast(isa, 1, activation);
          QuantMatrix w = make(c, 7, k, 9);
          if (!w.column_order.empty())
            for (int32_t i = 0; i < k; ++i)
              w.column_order[static_cast<size_t>(i)] = static_cast<int32_t>(k - 1 - i);
          const Tensor x = random_tensor({5, k}, 2);
          const std::string what = quern::format("{} {} K {}", c.name, name_of(isa), k);
          expect_near(matmul(fast.ctx, x, *pack_weight(fast.ctx, {w})),
                      matmul(slow.ctx, x, *pack_weight(slow.ctx, {meaning(w, activation, isa)})),
                      x,
                      reach(c, dequantize(w)),
                      what);
        }
}

TEST(Codes, ARowHasTheSameBitsInAnyCompanyAndThreadCount) {
  const int64_t k = 768, n = 75;
  const Tensor x = random_tensor({130, k}, 4), bias = random_tensor({n}, 6);
  for (const Activation activation : kActivations)
    for (const Isa isa : fast_tiers())
      for (const Case& c : kCases) {
        Machine one(isa, 1, activation), three(isa, 3, activation);
        const auto packed = pack_weight(three.ctx, {make(c, n, k, 5)});
        const Tensor all = matmul(three.ctx, x, *packed, bias);
        for (int64_t rows = 1; rows <= 129; rows = rows < 26 ? rows + 1 : rows + 17) {
          const int64_t first = (rows * 7) % (130 - rows);
          const Tensor part = matmul(
              rows % 2 == 0 ? one.ctx : three.ctx, x.slice(0, first, first + rows), *packed, bias);
          ASSERT_TRUE(same_bits(part, all.slice(0, first, first + rows)))
              << c.name << " " << packed->kernel() << " rows " << rows;
        }
      }
}

TEST(Codes, WholeNumberProductsHaveTheSameBitsOnEveryTier) {
  const Tensor x = random_tensor({6, 512}, 4);
  for (const Case& c : kCases) {
    if (c.coding != Coding::integer) continue;
    Tensor first;
    for (const Isa isa : fast_tiers()) {
      Machine m(isa, 2, Activation::int8);
      const Tensor y = matmul(m.ctx, x, *pack_weight(m.ctx, {make(c, 70, 512, 5)})).contiguous();
      if (!first.defined()) {
        first = Tensor::empty(y.shape(), DType::f32);
        std::ranges::copy(y.span<float>(), first.data<float>());
      }
      EXPECT_TRUE(same_bits(y, first)) << c.name << " " << name_of(isa);
    }
  }
}

TEST(Codes, StackedPartsEqualSingleOnes) {
  for (const Isa isa : all_tiers())
    for (const Activation activation : kActivations) {
      Machine m(isa, 2, activation);
      const Tensor x = random_tensor({3, 512}, 9), bias = random_tensor({37 + 5 + 40 + 64}, 3);
      const std::vector<QuantMatrix> parts{make(kCases[0], 37, 512, 10),
                                           make(kCases[0], 5, 512, 11),
                                           make(kCases[9], 40, 512, 12),
                                           make(kCases[2], 64, 512, 13)};
      const auto stacked = pack_weight(m.ctx, parts);
      ASSERT_EQ(stacked->rows(), 146);
      const Tensor y = matmul(m.ctx, x, *stacked, bias);
      int64_t at = 0;
      for (const QuantMatrix& part : parts) {
        EXPECT_TRUE(same_bits(
            y.slice(1, at, at + part.rows()),
            matmul(m.ctx, x, *pack_weight(m.ctx, {part}), bias.slice(0, at, at + part.rows()))));
        at += part.rows();
      }
    }
}

TEST(Codes, LargestInputsDoNotOverflow) {
  for (const Isa isa : fast_tiers()) {
    Machine slow(Isa::scalar, 1, Activation::int8), fast(isa, 1, Activation::int8);
    for (const Case& c : {kCases[1], kCases[4], kCases[5]}) {
      QuantMatrix w = make(c, 8, 256, 3);
      std::memset(w.codes.raw(), c.is_signed ? (c.bits == 8 ? 0x80 : 0xf8) : 0xff, 8 * 256);
      const Tensor x = Tensor::empty({2, 256}, DType::f32);
      for (int64_t i = 0; i < 512; ++i) x.data<float>()[i] = i < 256 ? 3.0f : -3.0f;
      expect_near(matmul(fast.ctx, x, *pack_weight(fast.ctx, {w})),
                  matmul(slow.ctx, x, *pack_weight(slow.ctx, {w})),
                  x,
                  reach(c, dequantize(w)),
                  c.name);
    }
  }
}

TEST(Codes, MetaTakesTheSameMemory) {
  for (const Isa isa : fast_tiers())
    for (const Activation activation : kActivations)
      for (const Case& c : kCases)
        for (const int64_t rows : {1, 40}) {
          Machine real(isa, 2, activation);
          MetaMachine meta(isa, activation);
          const QuantMatrix w = make(c, 45, 256, 1);
          QuantMatrix shape = w;
          for (Tensor* t : {&shape.codes,
                            &shape.scales,
                            &shape.super_scales,
                            &shape.zeros,
                            &shape.minimums,
                            &shape.super_minimums})
            if (t->defined()) *t = Tensor::empty(t->shape(), t->dtype(), Device::meta());
          const auto a = pack_weight(real.ctx, {w}), b = pack_weight(meta.ctx, {shape});
          EXPECT_EQ(a->bytes(), b->bytes());
          EXPECT_EQ(a->kernel(), b->kernel());
          matmul(real.ctx, random_tensor({rows, 256}, 2), *a);
          matmul(meta.ctx, Tensor::empty({rows, 256}, DType::f32, Device::meta()), *b);
          EXPECT_EQ(real.arena->peak_bytes(), meta.arena->peak_bytes());
        }
}

TEST(Codes, WhatIsNoNumberIsRefused) {
  Machine m(Isa::avx2);
  if (probe_topology().isa < Isa::avx2) GTEST_SKIP() << "no fast tier on this machine";
  QuantMatrix w = make(kCases[11], 20, 128, 1);
  w.codes.data<uint8_t>()[777] = 0xff;
  EXPECT_THROW(pack_weight(m.ctx, {w}), Error);
  QuantMatrix far = make(kCases[0], 20, 128, 1);
  far.zeros = random_tensor({20, 1}, 3);
  EXPECT_THROW(pack_weight(m.ctx, {far}), Error);
}

TEST(Codes, BlocksThatAreNoWholeStepsAreWidened) {
  QuantMatrix w = make(kCases[0], 4, 60, 1);
  w.block_cols = 20;
  w.scales = random_tensor({4, 3}, 2);
  w.zeros = Tensor::zeros({4, 3}, DType::u8);
  EXPECT_FALSE(code_spec(w, Activation::f32, Isa::scalar).has_value());
  Machine m(Isa::scalar);
  EXPECT_EQ(pack_weight(m.ctx, {w})->rows(), 4);
}

}  // namespace
}  // namespace quern::ops
