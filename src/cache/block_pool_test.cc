// SPDX-License-Identifier: Apache-2.0
#include "cache/block_pool.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "cache/block_table.h"

namespace quern {
namespace {

TEST(BlockPool, HandsOutEveryBlockOnceAndThenNone) {
  BlockPool pool(3);
  EXPECT_EQ(pool.take(), 0);
  EXPECT_EQ(pool.take(), 1);
  EXPECT_EQ(pool.take(), 2);
  EXPECT_EQ(pool.take(), -1);
  EXPECT_EQ(pool.used(), 3);
}

TEST(BlockPool, ReusesForgottenBlocksFirstAndKeptOnesInOrderOfRelease) {
  BlockPool pool(4);
  for (int i = 0; i < 4; ++i) pool.take();
  pool.keep(2);
  pool.keep(0);
  for (const int id : {2, 3, 0, 1}) pool.release(id);
  EXPECT_EQ(pool.take(), 1);
  EXPECT_EQ(pool.take(), 3);
  EXPECT_EQ(pool.take(), 2);
  EXPECT_EQ(pool.take(), 0);
}

TEST(BlockPool, AReferenceCallsABlockBackFromTheLine) {
  BlockPool pool(2);
  const int32_t a = pool.take();
  const uint64_t generation = pool.generation(a);
  pool.keep(a);
  pool.release(a);
  pool.add_reference(a);
  EXPECT_EQ(pool.generation(a), generation);
  EXPECT_NE(pool.take(), a);
  EXPECT_EQ(pool.take(), -1);
}

TEST(BlockPoolDeathTest, ADoubleReleaseIsOurBug) {
  BlockPool pool(1);
  pool.release(pool.take());
  EXPECT_DEATH(pool.release(0), "released more often");
}

TEST(BlockTable, GrowsWholeOrNotAtAll) {
  BlockPool pool(3);
  BlockTable a(pool, 4);
  EXPECT_TRUE(a.grow_to(5));
  EXPECT_EQ(a.blocks().size(), 2u);
  EXPECT_FALSE(a.grow_to(13));
  EXPECT_EQ(pool.used(), 2);
  EXPECT_TRUE(a.grow_to(8));
  EXPECT_EQ(a.blocks().size(), 2u);
  EXPECT_EQ(a.slot(6), a.blocks()[1] * 4 + 2);
  BlockTable b(pool, 4);
  b.share(a.blocks()[0]);
  a.clear();
  EXPECT_EQ(pool.used(), 1);
}

TEST(BlockTable, GivesItsBlocksBackWhenItEnds) {
  BlockPool pool(3);
  {
    BlockTable a(pool, 4);
    a.grow_to(9);
    const BlockTable b(std::move(a));
    EXPECT_EQ(pool.used(), 3);
  }
  EXPECT_EQ(pool.used(), 0);
}

// Random tables against a count kept by hand: no block is leaked, lost or held by two owners who
// did not share it.
TEST(BlockPool, RandomisedInvariants) {
  std::mt19937 random(7);
  for (int round = 0; round < 20; ++round) {
    BlockPool pool(1 + static_cast<int64_t>(random() % 24));
    std::vector<std::vector<int32_t>> owners(6);
    for (int step = 0; step < 2000; ++step) {
      std::vector<int32_t>& mine = owners[random() % owners.size()];
      const std::vector<int32_t>& other = owners[random() % owners.size()];
      switch (random() % 4) {
        case 0:
          if (const int32_t id = pool.take(); id >= 0) mine.push_back(id);
          break;
        case 1:
          if (!other.empty()) {
            const int32_t id = other[random() % other.size()];
            pool.add_reference(id);
            mine.push_back(id);
          }
          break;
        case 2:
          if (!mine.empty()) pool.keep(mine[random() % mine.size()]);
          break;
        default:
          if (!mine.empty()) {
            pool.release(mine.back());
            mine.pop_back();
          }
      }
      std::map<int32_t, int32_t> counts;
      for (const auto& owner : owners)
        for (const int32_t id : owner) ++counts[id];
      ASSERT_EQ(pool.used(), static_cast<int64_t>(counts.size()));
      for (int32_t id = 0; id < pool.size(); ++id)
        ASSERT_EQ(pool.references(id), counts.contains(id) ? counts[id] : 0);
    }
    for (auto& owner : owners)
      for (const int32_t id : owner) pool.release(id);
    EXPECT_EQ(pool.used(), 0);
    std::vector<bool> seen(static_cast<size_t>(pool.size()));
    for (int64_t i = 0; i < pool.size(); ++i) {
      const auto id = static_cast<size_t>(pool.take());
      EXPECT_FALSE(seen[id]);
      seen[id] = true;
    }
  }
}

}  // namespace
}  // namespace quern
