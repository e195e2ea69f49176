// SPDX-License-Identifier: Apache-2.0
// The tile unit does what tile_unit.h says of it; on machines without one these tests are skipped.
#include "ops/cpu/tile_unit.h"

#include <cmath>

#include "ops/test_machine.h"

namespace quern::ops::cpu {
namespace {

class TileUnitTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (probe_topology().isa < Isa::amx) GTEST_SKIP() << "SKIPPED: no tile unit (AMX) here";
  }
};

TEST_F(TileUnitTest, AddsProductsOfWholeNumbers) {
  std::mt19937 engine(1);
  alignas(64) int8_t a[16][64], b[16][16][4];
  alignas(64) int32_t c[16][16] = {};
  for (const int64_t rows : {1, 5, 16, 20})
    for (const int64_t lanes : {1, 8, 16}) {
      for (auto& row : a)
        for (int8_t& x : row) x = static_cast<int8_t>(engine());
      for (auto& lane : b)
        for (auto& column : lane)
          for (int8_t& x : column) x = static_cast<int8_t>(engine());
      const TileUnit unit(rows, lanes);
      tile::clear<0>();
      tile::load<4>(reinterpret_cast<const std::byte*>(a), 64);
      tile::load<6>(reinterpret_cast<const std::byte*>(b), 64);
      tile::add_int8<0, 4, 6>();
      tile::add_int8<0, 4, 6>();
      tile::store<0>(reinterpret_cast<std::byte*>(c));
      for (int64_t r = 0; r < std::min<int64_t>(rows, 16); ++r)
        for (int64_t n = 0; n < 16; ++n) {
          int32_t sum = 0;
          for (int64_t k = 0; k < 4 * lanes; ++k) sum += a[r][k] * b[k / 4][n][k % 4];
          ASSERT_EQ(c[r][n], 2 * sum) << rows << " rows, " << lanes << " lanes";
        }
    }
}

// What the bits of every bf16 product rest on.
TEST_F(TileUnitTest, AddsEvenAndOddInputsInChainsOfTheirOwn) {
  alignas(64) uint16_t a[16][32], b[16][16][2];
  alignas(64) float c[16][16], before[16][16];
  const Tensor numbers = random_tensor({3, 1024}, 2);
  const float* x = numbers.data<float>();
  for (int i = 0; i < 512; ++i) {
    a[i / 32][i % 32] = float_to_bf16(x[i]);
    b[i / 32][i / 2 % 16][i % 2] = float_to_bf16(x[1024 + i]);
  }
  for (int i = 0; i < 256; ++i) c[i / 16][i % 16] = before[i / 16][i % 16] = x[2048 + i];
  const TileUnit unit(16, 16);
  tile::load<0>(reinterpret_cast<const std::byte*>(c), 64);
  tile::load<4>(reinterpret_cast<const std::byte*>(a), 64);
  tile::load<6>(reinterpret_cast<const std::byte*>(b), 64);
  tile::add_bf16<0, 4, 6>();
  tile::store<0>(reinterpret_cast<std::byte*>(c));
  for (int r = 0; r < 16; ++r)
    for (int n = 0; n < 16; ++n) {
      float sums[2] = {};
      for (int k = 0; k < 32; ++k)
        sums[k % 2] =
            std::fma(bf16_to_float(a[r][k]), bf16_to_float(b[k / 2][n][k % 2]), sums[k % 2]);
      ASSERT_EQ(c[r][n], before[r][n] + (sums[0] + sums[1]));
    }
}

}  // namespace
}  // namespace quern::ops::cpu
