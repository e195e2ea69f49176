// SPDX-License-Identifier: Apache-2.0
#include "engine/draft.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace quern {
namespace {

using Ids = std::vector<int32_t>;

Ids draft(const Ids& history, int lookup_min, int lookup_max, int64_t most = 3) {
  return draft_of(history, {.tokens = 3, .lookup_min = lookup_min, .lookup_max = lookup_max}, most);
}

TEST(Draft, GoesOnWhereTheLongestEndStoodBefore) {
  EXPECT_EQ(draft({1, 2, 3, 4, 5, 9, 3, 4, 1, 2, 3, 4}, 1, 4), (Ids{5, 9, 3}));
  EXPECT_EQ(draft({1, 2, 3, 4, 5, 9, 3, 4, 1, 2, 3, 4}, 1, 2), (Ids{1, 2, 3}));  // the latest place
  EXPECT_EQ(draft({7, 1, 8, 1}, 1, 4), (Ids{8, 1, 8}));
  EXPECT_EQ(draft({7, 1, 8, 1}, 1, 4, 1), (Ids{8}));
}

TEST(Draft, RepeatsItselfBehindTheEnd) {
  EXPECT_EQ(draft({5, 5}, 1, 4, 4), (Ids{5, 5, 5, 5}));
  EXPECT_EQ(draft({1, 2, 1, 2}, 2, 4, 5), (Ids{1, 2, 1, 2, 1}));
}

TEST(Draft, IsEmptyWithoutSuchAPlace) {
  EXPECT_TRUE(draft({1, 2, 3, 4}, 1, 4).empty());
  EXPECT_TRUE(draft({1, 2, 9, 2}, 2, 4).empty());  // one token is too short an end
  EXPECT_TRUE(draft({1, 2, 1, 2}, 1, 4, 0).empty());
  EXPECT_TRUE(draft({1}, 1, 4).empty());
  EXPECT_TRUE(draft({}, 1, 4).empty());
}

TEST(Draft, LooksBackSoFarAndNoFurther) {
  Ids near(32'768, 1), far(32'769, 1);
  for (size_t i = 1; i < near.size(); ++i) near[i] = static_cast<int32_t>(i + 10);
  for (size_t i = 1; i < far.size(); ++i) far[i] = static_cast<int32_t>(i + 10);
  near.back() = far.back() = 1;
  EXPECT_EQ(draft(near, 1, 1), (Ids{11, 12, 13}));
  EXPECT_TRUE(draft(far, 1, 1).empty());
}

TEST(Draft, ConfigsAreChecked) {
  const auto refused = [](const SpeculationConfig& config) {
    try {
      config.validate();
    } catch (const Error& e) {
      return e.code() == ErrorCode::invalid_argument;
    }
    return false;
  };
  EXPECT_FALSE(refused({}));
  EXPECT_TRUE(refused({.tokens = -1}));
  EXPECT_TRUE(refused({.tokens = 17}));
  EXPECT_TRUE(refused({.tokens = 4, .lookup_min = 0}));
  EXPECT_TRUE(refused({.tokens = 4, .lookup_min = 5, .lookup_max = 4}));
  EXPECT_TRUE(refused({.tokens = 4, .lookup_min = 1, .lookup_max = 33}));
}

}  // namespace
}  // namespace quern
