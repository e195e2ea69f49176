// SPDX-License-Identifier: Apache-2.0
#include "tensor/quant_slice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace quern {
namespace {

struct Kind {
  const char* name;
  int64_t block_rows, block_cols, super_cols;
  Offset offset;
  bool is_ordered;
};

Tensor random_floats(std::mt19937& random, const Shape& shape) {
  std::uniform_real_distribution<float> range(-2, 2);
  Tensor out = Tensor::empty(shape, DType::f32);
  for (float& v : out.span<float>()) v = range(random);
  return out;
}

Tensor random_bytes(std::mt19937& random, const Shape& shape) {
  Tensor out = Tensor::empty(shape, DType::u8);
  for (uint8_t& v : out.span<uint8_t>()) v = static_cast<uint8_t>(random() % 16);
  return out;
}

int64_t cells(int64_t length, int64_t block) {
  return block == 0 ? 1 : (length + block - 1) / block;
}

QuantMatrix make(const Kind& kind, int64_t rows, int64_t cols) {
  std::mt19937 random(7);
  const Shape grid{cells(rows, kind.block_rows), cells(cols, kind.block_cols)};
  QuantMatrix w;
  w.coding = Coding::integer;
  w.code_bits = 4;
  w.codes = random_bytes(random, {rows, cols});
  w.block_rows = kind.block_rows;
  w.block_cols = kind.block_cols;
  w.scales = random_floats(random, grid);
  w.offset = kind.offset;
  if (kind.offset == Offset::zero_point) w.zeros = random_bytes(random, grid);
  if (kind.offset == Offset::minimum) w.minimums = random_floats(random, grid);
  if (kind.super_cols > 0) {
    w.super_cols = kind.super_cols;
    w.super_scales = random_floats(random, {grid[0], cells(cols, kind.super_cols)});
  }
  if (kind.is_ordered) {
    w.column_order.resize(static_cast<size_t>(cols));
    std::iota(w.column_order.begin(), w.column_order.end(), 0);
    std::ranges::shuffle(w.column_order, random);
  }
  validate(w);
  return w;
}

class QuantSlice : public testing::TestWithParam<Kind> {
 protected:
  static constexpr int64_t kRows = 40, kCols = 88;
  QuantMatrix w_ = make(GetParam(), kRows, kCols);
  Tensor whole_ = dequantize(w_);
  float whole(int64_t n, int64_t k) const { return whole_.data<float>()[n * kCols + k]; }
};

TEST_P(QuantSlice, KeepsEveryValue) {
  for (const Range rows : {Range{0, kRows}, {3, 17}, {16, 40}, {24, 24}})
    for (const Range cols : {Range{0, kCols}, {0, 40}, {8, 88}, {24, 56}, {33, 41}}) {
      if (GetParam().is_ordered && cols != Range{0, kCols}) continue;
      const QuantMatrix part = slice(w_, rows, cols);
      validate(part);
      const Tensor got = dequantize(part);
      ASSERT_EQ(got.shape(), Shape({rows.size(), cols.size()}));
      for (int64_t n = 0; n < rows.size(); ++n)
        for (int64_t k = 0; k < cols.size(); ++k)
          ASSERT_EQ(got.data<float>()[n * cols.size() + k], whole(rows.begin + n, cols.begin + k));
    }
}

TEST_P(QuantSlice, TakesRows) {
  const std::vector<Range> ranges = {{1, 2}, {5, 9}, {30, 40}};
  const QuantMatrix part = take_rows(w_, ranges);
  validate(part);
  const Tensor got = dequantize(part);
  int64_t at = 0;
  for (const Range r : ranges)
    for (int64_t n = r.begin; n < r.end; ++n, ++at)
      for (int64_t k = 0; k < kCols; ++k) ASSERT_EQ(got.data<float>()[at * kCols + k], whole(n, k));
  EXPECT_EQ(got.dim(0), at);
}

// What a product with the part sees: the weight of each taken input.
TEST_P(QuantSlice, TakesInputs) {
  if (GetParam().super_cols > 0) return;
  for (const std::vector<Range>& ranges :
       {std::vector<Range>{{0, 44}}, {{8, 16}, {40, 88}}, {{87, 88}}, {{0, 88}}}) {
    const TakenInputs taken = take_inputs(w_, ranges);
    validate(taken.weight);
    std::vector<int64_t> inputs;
    for (const Range r : ranges)
      for (int64_t k = r.begin; k < r.end; ++k) inputs.push_back(k);
    const Tensor got = dequantize(taken.weight);
    std::vector<float> weights(static_cast<size_t>(kRows) * inputs.size(), 0);
    for (int64_t n = 0; n < kRows; ++n)
      for (int64_t c = 0; c < got.dim(1); ++c) {
        const int64_t at = taken.gather.empty() ? c : taken.gather[static_cast<size_t>(c)];
        if (at >= 0)
          weights[static_cast<size_t>(n) * inputs.size() + static_cast<size_t>(at)] +=
              got.data<float>()[n * got.dim(1) + c];
      }
    for (int64_t n = 0; n < kRows; ++n)
      for (size_t i = 0; i < inputs.size(); ++i)
        ASSERT_EQ(weights[static_cast<size_t>(n) * inputs.size() + i], whole(n, inputs[i]));
  }
}

TEST_P(QuantSlice, KnowsTheShapesOnMeta) {
  QuantMatrix meta = w_;
  for (Tensor* t : {&meta.codes, &meta.scales, &meta.zeros, &meta.minimums, &meta.super_scales})
    if (t->defined()) *t = Tensor::empty(t->shape(), t->dtype(), Device::meta());
  const std::vector<Range> ranges = {{8, 16}, {40, 88}};
  if (GetParam().super_cols == 0) {
    EXPECT_EQ(take_inputs(meta, ranges).weight.scales.shape(),
              take_inputs(w_, ranges).weight.scales.shape());
  }
  EXPECT_EQ(slice(meta, {3, 9}, {0, kCols}).scales.shape(),
            slice(w_, {3, 9}, {0, kCols}).scales.shape());
}

INSTANTIATE_TEST_SUITE_P(Kinds,
                         QuantSlice,
                         testing::Values(Kind{"groups", 1, 32, 0, Offset::zero_point, false},
                                         Kind{"blocks", 16, 32, 0, Offset::none, false},
                                         Kind{"channels", 1, 0, 0, Offset::none, false},
                                         Kind{"one_scale", 0, 0, 0, Offset::none, false},
                                         Kind{"two_levels", 1, 16, 64, Offset::minimum, false},
                                         Kind{"act_order", 1, 32, 0, Offset::zero_point, true},
                                         Kind{"ordered_channels", 1, 0, 0, Offset::none, true}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(TakeInputs, LeavesWholeGroupsWhole) {
  QuantMatrix w = make({"act_order", 1, 16, 0, Offset::zero_point, true}, 4, 64);
  std::vector<int32_t> of_group(w.column_order.begin() + 16, w.column_order.begin() + 48);
  std::ranges::sort(of_group);
  std::vector<Range> ranges;
  for (const int32_t k : of_group) ranges.push_back({k, k + 1});
  const TakenInputs taken = take_inputs(w, ranges);
  EXPECT_TRUE(taken.gather.empty());
  EXPECT_EQ(taken.weight.block_cols, 16);
  EXPECT_EQ(taken.weight.cols(), 32);
}

}  // namespace
}  // namespace quern
