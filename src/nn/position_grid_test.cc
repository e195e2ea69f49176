// SPDX-License-Identifier: Apache-2.0
#include "nn/position_grid.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/error.h"
#include "nn/owned_ctx.h"
#include "nn/test_checkpoint.h"

namespace quern {
namespace {

using Filter = PositionGridConfig::Filter;

std::vector<int32_t> raster(int64_t h, int64_t w) {
  std::vector<int32_t> out;
  for (int64_t i = 0; i < h * w; ++i) out.push_back(static_cast<int32_t>(i / w));
  for (int64_t i = 0; i < h * w; ++i) out.push_back(static_cast<int32_t>(i % w));
  return out;
}

// The table's value at a fractional place, by the textbook's formula, in double.
double plain_value(const std::vector<float>& table,
                   const PositionGridConfig& c,
                   double y,
                   double x,
                   int64_t column) {
  const auto kernel = [&](double d) {
    d = std::abs(d);
    constexpr double a = -0.75;
    if (c.filter == Filter::bilinear) return std::max(0.0, 1 - d);
    if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0.0;
  };
  double sum = 0;
  const auto edge = [&](int64_t i) { return std::clamp<int64_t>(i, 0, c.side - 1); };
  for (auto r = static_cast<int64_t>(std::floor(y)) - 2; r <= static_cast<int64_t>(y) + 3; ++r)
    for (auto k = static_cast<int64_t>(std::floor(x)) - 2; k <= static_cast<int64_t>(x) + 3; ++k)
      sum += kernel(y - static_cast<double>(r)) * kernel(x - static_cast<double>(k)) *
             table[static_cast<size_t>((c.unused_rows + edge(r) * c.side + edge(k)) * c.width +
                                       column)];
  return sum;
}

class PositionGridTest : public ::testing::Test {
 protected:
  static std::vector<float> values_of(const PositionGridConfig& c) {
    std::vector<float> values;
    for (int64_t i = 0; i < (c.side * c.side + c.unused_rows) * c.width; ++i)
      values.push_back(static_cast<float>(std::sin(static_cast<double>(i * i % 1013))));
    return values;
  }
  PositionGrid grid(const PositionGridConfig& c) {
    auto checkpoint = std::make_shared<TestCheckpoint>();
    checkpoint->add_f32("t.weight", {c.side * c.side + c.unused_rows, c.width}, values_of(c));
    return PositionGrid(Builder(checkpoint, cpu_.ctx()), "t", c);
  }
  OwnedCtx cpu_{{}};
};

constexpr std::pair<int64_t, int64_t> kGrids[] = {{2, 2}, {5, 3}, {7, 18}, {1, 40}};

TEST_F(PositionGridTest, IsTheTextbooksFormulaOnGridsOfAnyShape) {
  for (const Filter filter : {Filter::bilinear, Filter::bicubic})
    for (const double overhang : {0.0, 0.1})
      for (const auto& [h, w] : kGrids) {
        const PositionGridConfig c{
            .side = 7, .width = 5, .unused_rows = 1, .filter = filter, .overhang = overhang};
        const std::vector<float> table = values_of(c);
        const Tensor got = grid(c)(cpu_.ctx(), h, w, raster(h, w));
        ASSERT_EQ(got.shape(), Shape({h * w, c.width}));
        const auto place = [&](int64_t i, int64_t n) {
          const double at =
              (static_cast<double>(i) + 0.5) * 7 / (static_cast<double>(n) + overhang) - 0.5;
          return filter == Filter::bilinear ? std::clamp(at, 0.0, 6.0) : at;
        };
        for (int64_t i = 0; i < h * w; ++i)
          for (int64_t d = 0; d < c.width; ++d)
            EXPECT_NEAR(got.data<float>()[i * c.width + d],
                        plain_value(table, c, place(i / w, h), place(i % w, w), d),
                        1e-5)
                << h << " x " << w << " patch " << i;
      }
}

TEST_F(PositionGridTest, AGridOfTheTablesSizeIsTheTable) {
  for (const Filter filter : {Filter::bilinear, Filter::bicubic}) {
    const PositionGridConfig c{.side = 6, .width = 3, .filter = filter};
    const std::vector<float> table = values_of(c);
    const Tensor got = grid(c)(cpu_.ctx(), 6, 6, raster(6, 6));
    for (size_t i = 0; i < table.size(); ++i) EXPECT_NEAR(got.data<float>()[i], table[i], 1e-6);
  }
}

TEST_F(PositionGridTest, ATableOfAnotherSizeIsRefused) {
  auto checkpoint = std::make_shared<TestCheckpoint>();
  checkpoint->add_f32("t.weight", {36, 3}, std::vector<float>(108));
  EXPECT_THROW(PositionGrid(Builder(checkpoint, cpu_.ctx()), "t", {.side = 7, .width = 3}), Error);
}

}  // namespace
}  // namespace quern
