// SPDX-License-Identifier: Apache-2.0
#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tensor/arena.h"
#include "tensor/quant_matrix.h"
#include "tensor/shard.h"

namespace quern {
namespace {

Tensor iota(const Shape& shape) {
  std::vector<float> values(static_cast<size_t>(shape.numel()));
  std::iota(values.begin(), values.end(), 0.0f);
  return Tensor::from(values, shape);
}

TEST(Tensor, ViewsShareStorage) {
  const Tensor t = iota({2, 3, 4});
  const Tensor column = t.slice(1, 1, 2).select(1, 0);
  EXPECT_EQ(column.shape(), Shape({2, 4}));
  EXPECT_FALSE(column.is_contiguous());
  const Tensor copy = column.contiguous();
  EXPECT_EQ(copy.data<float>()[0], 4);
  EXPECT_EQ(copy.data<float>()[4], 16);
  t.data<float>()[4] = -1;
  EXPECT_EQ(column.data<float>()[0], -1);
  EXPECT_EQ(t.reshape({6, 4}).select(0, 5).data<float>()[3], 23);
}

TEST(Tensor, WindowsOverlap) {
  const Tensor t = Tensor::from(std::vector<float>{0, 1, 2, 3, 4, 5}, {3, 2});
  const Tensor windows = t.windows(2, 4, 2);
  EXPECT_EQ(windows.shape(), Shape({2, 4}));
  EXPECT_TRUE(std::ranges::equal(windows.contiguous().span<float>(),
                                 std::vector<float>{0, 1, 2, 3, 2, 3, 4, 5}));
  EXPECT_EQ(windows.raw(), t.raw());
  EXPECT_EQ(t.windows(0, 4, 2).numel(), 0);
}

TEST(Tensor, ConvertsEveryFloatKind) {
  const uint8_t e4m3[] = {0x00, 0x01, 0x08, 0x38, 0x7e, 0xb8};
  const Tensor t = to_f32(Tensor::borrow(e4m3, {6}, DType::f8_e4m3));
  const float expected[] = {0.0f, 0x1p-9f, 0x1p-6f, 1.0f, 448.0f, -1.0f};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(t.data<float>()[i], expected[i]);
}

TEST(Tensor, MetaHasShapesAndNoBytes) {
  const Tensor t = Tensor::empty({1 << 20, 1 << 20}, DType::f32, Device::meta());
  EXPECT_EQ(t.raw(), nullptr);
  EXPECT_EQ(t.bytes(), int64_t{1} << 42);
  EXPECT_EQ(t.slice(0, 5, 9).dim(0), 4);
}

TEST(Arena, PeakOnMetaIsTheCapacityThatTheRunNeeds) {
  const auto run = [](Arena& arena) {
    Tensor a = arena.empty({100, 10}, DType::f32);
    Tensor b = arena.empty({50, 10}, DType::f32);
    a = Tensor();
    Tensor c = arena.empty({60, 10}, DType::f32);
    Tensor d = arena.empty({45, 10}, DType::f32);
    return arena.live_bytes();
  };
  Arena meta(Device::meta());
  const int64_t live = run(meta);
  Arena cpu(Device::cpu(), meta.peak_bytes());
  EXPECT_EQ(run(cpu), live);
  EXPECT_EQ(cpu.peak_bytes(), meta.peak_bytes());
  EXPECT_EQ(cpu.overflow_bytes(), 0);
  EXPECT_EQ(cpu.live_bytes(), 0);
}

TEST(Arena, SpillsToTheHeapAndSaysSo) {
  Arena arena(Device::cpu(), 1024);
  const Tensor big = arena.empty({1024}, DType::f32);
  EXPECT_NE(big.raw(), nullptr);
  EXPECT_GE(arena.overflow_bytes(), 4096);
}

TEST(Shard, RangesTileTheAxisAtEveryDegree) {
  for (int size = 1; size <= 16; ++size)
    for (const int64_t length : {0, 1, 5, 128, 29568, 151936}) {
      int64_t at = 0;
      for (int rank = 0; rank < size; ++rank) {
        const Range r = Shard(rank, size).range(length, 128);
        EXPECT_EQ(r.begin, at);
        EXPECT_TRUE(r.begin % 128 == 0 || r.begin == length);
        at = r.end;
      }
      EXPECT_EQ(at, length);
    }
}

TEST(Shard, TheArticlesSplit) {
  EXPECT_EQ(Shard(0, 2).range(29568, 128), (Range{0, 116 * 128}));
  EXPECT_EQ(Shard(1, 2).range(29568, 128), (Range{116 * 128, 231 * 128}));
}

TEST(Shard, ProportionsAndHeads) {
  EXPECT_EQ(Shard(1, 3, {2, 1, 1}).range(8), (Range{4, 6}));
  EXPECT_THROW(Shard(0, 2, {1, 0}), Error);
  const HeadRange uneven = Shard(0, 2).heads(9, 3);
  EXPECT_EQ(uneven.q, (Range{0, 6}));
  EXPECT_EQ(uneven.kv, (Range{0, 2}));
  const HeadRange copied = Shard(3, 4).heads(9, 3);  // 3 + 2 + 2 + 2 heads
  EXPECT_EQ(copied.q, (Range{7, 9}));
  EXPECT_EQ(copied.kv, (Range{2, 3}));
  EXPECT_TRUE(Shard(9, 12).heads(9, 3).q.is_empty());
}

QuantMatrix two_by_four() {
  static const uint8_t codes[] = {0, 1, 2, 3, 15, 14, 13, 12};
  QuantMatrix w;
  w.codes = Tensor::borrow(codes, {2, 4}, DType::u8);
  w.coding = Coding::integer;
  w.code_bits = 4;
  w.block_cols = 3;  // the second block is partial
  w.scales = Tensor::from(std::vector<float>{1, 2, -1, 0.5f}, {2, 2});
  return w;
}

TEST(QuantMatrix, ZeroPointsAndPartialBlocks) {
  QuantMatrix w = two_by_four();
  w.offset = Offset::zero_point;
  static const uint8_t zeros[] = {1, 2, 8, 8};
  w.zeros = Tensor::borrow(zeros, {2, 2}, DType::u8);
  const float expected[] = {-1, 0, 1, 2, -7, -6, -5, 2};
  for (int i = 0; i < 8; ++i) EXPECT_EQ(dequantize(w).data<float>()[i], expected[i]);
}

TEST(QuantMatrix, SecondLevelScalesMinimumsAndColumnOrder) {
  QuantMatrix w = two_by_four();
  w.offset = Offset::minimum;
  w.super_scales = Tensor::from(std::vector<float>{10, 100}, {2, 1});
  w.minimums = Tensor::from(std::vector<float>{0, 1, 2, 3}, {2, 2});
  w.column_order = {3, 2, 1, 0};
  const float expected[] = {61, 20, 10, 0, 603, -1298, -1398, -1498};
  for (int i = 0; i < 8; ++i) EXPECT_EQ(dequantize(w).data<float>()[i], expected[i]);
  w.column_order = {0, 0, 1, 2};
  EXPECT_THROW(validate(w), Error);
}

TEST(QuantMatrix, CodeTables) {
  QuantMatrix w = two_by_four();
  w.coding = Coding::table;
  w.table.resize(16);
  std::iota(w.table.begin(), w.table.end(), -8.0f);
  EXPECT_EQ(dequantize_rows(w, 1, 2).data<float>()[0], -7);
  w.table.resize(15);
  EXPECT_THROW(validate(w), Error);
}

}  // namespace
}  // namespace quern
