// SPDX-License-Identifier: Apache-2.0
#include "hub/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quern {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(Progress, Words) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(1000), "1.00 kB");
  EXPECT_EQ(human_bytes(93'105'432), "93.1 MB");
  EXPECT_EQ(human_bytes(999'999'999), "1.00 GB");
  EXPECT_EQ(human_bytes(145'000'000'000), "145 GB");
  EXPECT_EQ(human_seconds(0.2), "1 s");
  EXPECT_EQ(human_seconds(232), "3 min 52 s");
  EXPECT_EQ(human_seconds(7500), "2 h 05 min");
}

TEST(Progress, RateIsOfTheLastSeconds) {
  RateMeter meter;
  EXPECT_EQ(meter.bytes_per_s(), 0);
  int64_t bytes = 0;
  for (int64_t s = 0; s <= 60; ++s) meter.add(s * 1'000'000, bytes += 1000);
  EXPECT_DOUBLE_EQ(meter.bytes_per_s(), 1000);
  for (int64_t s = 61; s <= 80; ++s) meter.add(s * 1'000'000, bytes += 50);
  EXPECT_DOUBLE_EQ(meter.bytes_per_s(), 50);
}

TEST(Progress, ALineFitsItsColumns) {
  const Progress half{.done_bytes = 50'000'000, .total_bytes = 100'000'000, .bytes_per_s = 1e7};
  EXPECT_THAT(progress_line(half, 100), StartsWith("[============            ]"));
  EXPECT_THAT(progress_line(half, 100), HasSubstr("50%  50.0 MB of 100 MB  10.0 MB/s  5 s left"));
  for (int columns = 0; columns < 120; ++columns)
    EXPECT_LE(progress_line(half, columns).size(), static_cast<size_t>(columns));
  EXPECT_THAT(progress_line({}, 80), HasSubstr("100%"));
}

}  // namespace
}  // namespace quern
