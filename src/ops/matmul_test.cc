// SPDX-License-Identifier: Apache-2.0
// The packed product: every tier, weight kind and activation against the plain loops, and the
// promise that a row's bits depend on nothing but the row and the weight.
#include "ops/matmul.h"

#include <cmath>

#include "ops/elementwise.h"
#include "ops/pack.h"
#include "ops/test_machine.h"

namespace quern::ops {
namespace {

constexpr DType kKinds[] = {DType::f32, DType::bf16, DType::f16};
constexpr Activation kActivations[] = {Activation::f32, Activation::bf16, Activation::f16};

QuantMatrix plain(const Tensor& codes) {
  QuantMatrix w;
  w.codes = codes;
  return w;
}

// 4-bit codes with a scale and a minimum for every 32 columns, as GGUF's Q4_1 has them.
QuantMatrix four_bit(int64_t rows, int64_t cols, uint32_t seed) {
  std::mt19937 engine(seed);
  QuantMatrix w;
  w.codes = Tensor::empty({rows, cols}, DType::u8);
  for (uint8_t& code : w.codes.span<uint8_t>()) code = static_cast<uint8_t>(engine() % 16);
  w.coding = Coding::integer;
  w.code_bits = 4;
  w.block_cols = 32;
  w.offset = Offset::minimum;
  w.scales = narrowed(random_tensor({rows, (cols + 31) / 32}, seed, 0.01f), DType::f16);
  w.minimums = narrowed(random_tensor({rows, (cols + 31) / 32}, seed + 1, 0.05f), DType::f16);
  return w;
}

float round_to(float value, Activation activation) {
  if (activation == Activation::bf16) return bf16_to_float(float_to_bf16(value));
  if (activation == Activation::f16) return f16_to_float(float_to_f16(value));
  return value;
}

// Both products use the same rounded inputs; what differs is the rounding of K sums (and of the
// K-blocks of them).
void expect_product(const Tensor& got,
                    const Tensor& expected,
                    const Tensor& x,
                    const Tensor& w,
                    const std::string& what) {
  ASSERT_EQ(got.shape(), expected.shape());
  const int64_t k_size = x.dim(1);
  for (int64_t t = 0; t < got.dim(0); ++t)
    for (int64_t n = 0; n < got.dim(1); ++n) {
      double mass = 0;
      for (int64_t k = 0; k < k_size; ++k)
        mass += std::abs(double{x.data<float>()[t * k_size + k]} * w.data<float>()[n * k_size + k]);
      const float g = got.data<float>()[t * got.dim(1) + n],
                  e = expected.data<float>()[t * got.dim(1) + n];
      const double steps = static_cast<double>(std::min<int64_t>(k_size, 512) + k_size / 512 + 2);
      ASSERT_LE(std::abs(g - e), 1.02 * steps * kEps * mass + 2 * kEps * std::abs(e) + 1e-30)
          << what << " row " << t << " column " << n;
    }
}

TEST(Matmul, EveryTierAgreesWithThePlainLoops) {
  const struct {
    int64_t t, k, n;
  } shapes[] = {
      {1, 1, 1}, {2, 3, 5}, {3, 64, 32}, {7, 65, 33}, {13, 128, 96}, {30, 257, 70}, {5, 1100, 40}};
  for (const Activation activation : kActivations)
    for (const Isa isa : fast_tiers())
      for (const DType kind : kKinds)
        for (const auto [t, k, n] : shapes) {
          Machine slow(Isa::scalar, 2, activation), fast(isa, 2, activation);
          const Tensor x = random_tensor({t, k}, 1), w = random_tensor({n, k}, 2, 0.1f),
                       bias = random_tensor({n}, 3);
          const QuantMatrix matrix = plain(narrowed(w, kind));
          const auto a = pack_weight(slow.ctx, {matrix}), b = pack_weight(fast.ctx, {matrix});
          EXPECT_EQ(b->rows(), n);
          EXPECT_EQ(b->cols(), k);
          const std::string what = quern::format(
              "{} {} [{}, {}] x {}", b->kernel(), static_cast<int>(activation), n, k, t);
          expect_product(matmul(fast.ctx, x, *b, bias), matmul(slow.ctx, x, *a, bias), x, w, what);
          expect_product(matmul(fast.ctx, x, *b), matmul(slow.ctx, x, *a), x, w, what);
        }
}

TEST(Matmul, ThePlainLoopsMeanWhatTheHeaderSays) {
  for (const Activation activation : kActivations) {
    Machine m(Isa::scalar, 1, activation);
    const Tensor x = random_tensor({3, 20}, 1), w = random_tensor({4, 20}, 2),
                 bias = random_tensor({4}, 3);
    const Tensor y = matmul(m.ctx, x, *pack_weight(m.ctx, {plain(w)}), bias);
    for (int64_t t = 0; t < 3; ++t)
      for (int64_t n = 0; n < 4; ++n) {
        const Activation weight =
            activation == Activation::f32 ? Activation::f32 : Activation::bf16;
        double sum = bias.data<float>()[n];
        for (int64_t k = 0; k < 20; ++k)
          sum += double{round_to(x.data<float>()[t * 20 + k], activation)} *
                 round_to(w.data<float>()[n * 20 + k], weight);
        EXPECT_NEAR(y.data<float>()[t * 4 + n], sum, 1e-5);
      }
  }
}

TEST(Matmul, ARowHasTheSameBitsInAnyCompanyAndThreadCount) {
  const int64_t k = 1030, n = 75;
  const Tensor x = random_tensor({130, k}, 4), w = random_tensor({n, k}, 5, 0.1f),
               bias = random_tensor({n}, 6);
  for (const Activation activation : kActivations)
    for (const Isa isa : fast_tiers())
      for (const DType kind : kKinds) {
        Machine one(isa, 1, activation), three(isa, 3, activation);
        const auto packed = pack_weight(three.ctx, {plain(narrowed(w, kind))});
        const Tensor all = matmul(three.ctx, x, *packed, bias);
        for (int64_t rows = 1; rows <= 129; rows = rows < 30 ? rows + 1 : rows + 17) {
          const int64_t first = (rows * 7) % (130 - rows);
          const Tensor part = matmul(
              rows % 2 == 0 ? one.ctx : three.ctx, x.slice(0, first, first + rows), *packed, bias);
          ASSERT_TRUE(same_bits(part, all.slice(0, first, first + rows)))
              << packed->kernel() << " rows " << rows;
        }
      }
}

TEST(Matmul, LongBatchesKeepTheBits) {
  const int64_t k = 40, n = 33;
  const Tensor x = random_tensor({2500, k}, 4), w = random_tensor({n, k}, 5);
  for (const Isa isa : fast_tiers())
    for (const Activation activation : {Activation::f32, Activation::bf16}) {
      Machine m(isa, 2, activation);
      const auto packed = pack_weight(m.ctx, {plain(narrowed(w, DType::bf16))});
      const Tensor all = matmul(m.ctx, x, *packed);
      for (const int64_t t : {0, 1, 1023, 1024, 2047, 2048, 2499})
        ASSERT_TRUE(same_bits(matmul(m.ctx, x.slice(0, t, t + 1), *packed), all.slice(0, t, t + 1)))
            << t;
    }
}

TEST(Matmul, StridedRowsAndStridedWeights) {
  for (const Isa isa : all_tiers()) {
    Machine m(isa);
    const Tensor wide_x = random_tensor({9, 50}, 7), wide_w = random_tensor({21, 60}, 8);
    const Tensor x = wide_x.slice(1, 3, 40), w = wide_w.slice(1, 5, 42);
    EXPECT_TRUE(
        same_bits(matmul(m.ctx, x, *pack_weight(m.ctx, {plain(w)})),
                  matmul(m.ctx, x.contiguous(), *pack_weight(m.ctx, {plain(w.contiguous())}))));
  }
}

TEST(Matmul, StackedPartsEqualSingleOnes) {
  for (const Isa isa : all_tiers())
    for (const Activation activation : {Activation::f32, Activation::bf16}) {
      Machine m(isa, 2, activation);
      const Tensor x = random_tensor({3, 64}, 9);
      const std::vector<QuantMatrix> parts{
          four_bit(37, 64, 10), four_bit(5, 64, 11), plain(random_tensor({50, 64}, 12))};
      const auto stacked = pack_weight(m.ctx, parts);
      ASSERT_EQ(stacked->rows(), 92);
      const Tensor y = matmul(m.ctx, x, *stacked);
      int64_t at = 0;
      for (const QuantMatrix& part : parts) {
        EXPECT_TRUE(same_bits(y.slice(1, at, at + part.rows()),
                              matmul(m.ctx, x, *pack_weight(m.ctx, {part}))));
        at += part.rows();
      }
    }
}

TEST(RowDecoder, EqualsDequantizeBitForBit) {
  const int64_t rows = 11, cols = 150;
  for (const Coding coding : {Coding::plain, Coding::integer, Coding::table})
    for (const Offset offset : {Offset::none, Offset::zero_point, Offset::minimum})
      for (const int64_t block_rows : {0, 1, 4})
        for (const int64_t block_cols : {0, 1, 32, 48})
          for (const bool has_super : {false, true}) {
            QuantMatrix w = four_bit(rows, cols, 20);
            if (coding == Coding::plain)
              w.codes = narrowed(random_tensor({rows, cols}, 21), DType::f16);
            w.coding = coding;
            for (int i = 0; i < 16; ++i) w.table.push_back(static_cast<float>(i * i) - 7.3f);
            w.block_rows = block_rows;
            w.block_cols = block_cols;
            w.super_cols = 64;
            w.offset = offset;
            const int64_t grid_rows = block_rows > 0 ? (rows + block_rows - 1) / block_rows : 1;
            const Shape grid{grid_rows, block_cols > 0 ? (cols + block_cols - 1) / block_cols : 1};
            w.scales = random_tensor(grid, 22);
            w.zeros = offset == Offset::zero_point ? random_tensor(grid, 23) : Tensor();
            w.minimums = offset == Offset::minimum ? narrowed(random_tensor(grid, 24), DType::bf16)
                                                   : Tensor();
            if (has_super) w.super_scales = w.super_minimums = random_tensor({grid_rows, 3}, 25);
            const Tensor expected = dequantize(w), got = Tensor::empty({rows, cols}, DType::f32);
            const RowDecoder decoder(w);
            for (int64_t n = 0; n < rows; ++n) decoder.decode(n, got.data<float>() + n * cols);
            ASSERT_TRUE(same_bits(got, expected))
                << static_cast<int>(coding) << " " << static_cast<int>(offset) << " " << block_rows
                << " " << block_cols << " " << has_super;
          }
}

TEST(Matmul, EmptyShapes) {
  for (const Isa isa : all_tiers()) {
    Machine m(isa);
    const auto packed = pack_weight(m.ctx, {plain(random_tensor({5, 8}, 1))});
    EXPECT_EQ(matmul(m.ctx, Tensor::empty({0, 8}, DType::f32), *packed).shape(), Shape({0, 5}));
    const auto none = pack_weight(m.ctx, {plain(Tensor::empty({0, 8}, DType::f32))});
    EXPECT_EQ(matmul(m.ctx, random_tensor({2, 8}, 1), *none).shape(), Shape({2, 0}));
    const auto hollow = pack_weight(m.ctx, {plain(Tensor::empty({3, 0}, DType::f32))});
    const Tensor bias = random_tensor({3}, 2),
                 y = matmul(m.ctx, Tensor::empty({2, 0}, DType::f32), *hollow, bias);
    EXPECT_TRUE(same_bits(y.select(0, 1), bias));
  }
}

TEST(Matmul, MetaTakesTheSameMemory) {
  for (const Isa isa : all_tiers())
    for (const Activation activation : kActivations)
      for (const int64_t rows : {1, 40, 1500}) {
        Machine real(isa, 2, activation);
        MetaMachine meta(isa, activation);
        const Tensor w = narrowed(random_tensor({45, 70}, 1), DType::bf16);
        const auto a = pack_weight(real.ctx, {plain(w)});
        const auto b =
            pack_weight(meta.ctx, {plain(Tensor::empty(w.shape(), w.dtype(), Device::meta()))});
        EXPECT_EQ(a->bytes(), b->bytes());
        EXPECT_EQ(a->kernel(), b->kernel());
        matmul(real.ctx, random_tensor({rows, 70}, 2), *a);
        EXPECT_EQ(
            matmul(meta.ctx, Tensor::empty({rows, 70}, DType::f32, Device::meta()), *b).shape(),
            Shape({rows, 45}));
        EXPECT_EQ(real.arena->peak_bytes(), meta.arena->peak_bytes());
      }
}

// Gate and up of many rows are one product with nothing written between; its bits are those of two.
TEST(Matmul, GatedProductsHaveTheBitsOfTheProductAndTheGate) {
  QuantMatrix codes;
  codes.codes = Tensor::empty({512, 640}, DType::u8);
  for (int64_t i = 0; i < codes.codes.numel(); ++i)
    codes.codes.data<uint8_t>()[i] = static_cast<uint8_t>(i * 7 % 11 + i % 5);
  codes.coding = Coding::integer;
  codes.code_bits = 4;
  codes.block_cols = 128;
  codes.scales = random_tensor({512, 5}, 3, 0.02f);
  QuantMatrix floats;
  floats.codes = narrowed(random_tensor({512, 640}, 4), DType::bf16);
  for (const Isa isa : all_tiers())
    for (const Activation activation : {Activation::f32, Activation::bf16, Activation::int8})
      for (const QuantMatrix& w : {codes, floats})
        for (const int64_t rows : {1, 16, 40, 100, 300, 1030}) {
          if (rows > (isa == Isa::scalar ? 40 : isa == all_tiers().back() ? 1030 : 100)) continue;
          Machine m(isa, 3, activation);
          m.arena = std::make_unique<Arena>(Device::cpu(), 64 << 20);
          m.ctx.arena = m.arena.get();
          const auto packed = pack_weight(m.ctx, {w});
          const Tensor x = random_tensor({rows, 640}, 5);
          EXPECT_TRUE(same_bits(matmul_silu_mul(m.ctx, x, *packed),
                                silu_mul(m.ctx, matmul(m.ctx, x, *packed))))
              << packed->kernel() << ", " << rows << " rows";
        }
}

}  // namespace
}  // namespace quern::ops
