// SPDX-License-Identifier: Apache-2.0
#include "verify/compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace quern {
namespace {

TEST(Compare, BoundsAreAbsoluteAndRelative) {
  const std::vector<float> expected = {0, 100}, near = {0.001f, 100.1f}, far = {0.003f, 100};
  EXPECT_EQ(compare_values("x", near, expected, {0.002, 0.001}).verdict, Verdict::holds);
  EXPECT_EQ(compare_values("x", far, expected, {0.002, 0.001}).verdict, Verdict::differs);
}

TEST(Compare, AMeanCatchesWhatAWideBoundHides) {
  const std::vector<float> expected(8, 0.0f), got(8, 0.5f);
  EXPECT_EQ(compare_values("x", got, expected, {1, 0, 0.6}).verdict, Verdict::holds);
  EXPECT_EQ(compare_values("x", got, expected, {1, 0, 0.4}).verdict, Verdict::differs);
}

TEST(Compare, NothingEqualsNanAndSizesCount) {
  const std::vector<float> nan = {NAN}, one = {1}, two = {1, 2};
  EXPECT_EQ(compare_values("x", nan, one, {10, 0}).verdict, Verdict::differs);
  EXPECT_EQ(compare_values("x", nan, nan, {10, 0}).verdict, Verdict::differs);
  EXPECT_EQ(compare_values("x", one, two, {10, 0}).verdict, Verdict::differs);
  EXPECT_EQ(compare_exactly("x", one, one).verdict, Verdict::holds);
  EXPECT_EQ(compare_exactly("x", std::vector<float>{std::nextafter(1.0f, 2.0f)}, one).verdict,
            Verdict::differs);
}

TEST(Compare, AStarStandsForAnyText) {
  for (const char* pattern : {"full.wav", "*", "full.*", "*.wav", "f*l.w*v", "full.wav*"})
    EXPECT_TRUE(fits_pattern("full.wav", pattern)) << pattern;
  for (const char* pattern : {"wav", "full", "mel.*", "*.mel", "full.wav.*", ""})
    EXPECT_FALSE(fits_pattern("full.wav", pattern)) << pattern;
}

}  // namespace
}  // namespace quern
