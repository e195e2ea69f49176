// SPDX-License-Identifier: Apache-2.0
#include "cache/prefix_cache.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "cache/block_table.h"

namespace quern {
namespace {

Hash128 number_key(uint64_t n) {
  return prefix_root(std::to_string(n), {});
}

TEST(PrefixCache, FindsABlockUntilItIsHandedOutAgain) {
  BlockPool pool(2);
  PrefixCache cache(pool);
  const int32_t block = pool.take();
  cache.insert(number_key(1), block);
  EXPECT_EQ(cache.find(number_key(1)), block);
  EXPECT_EQ(cache.find(number_key(2)), -1);
  pool.release(block);
  EXPECT_EQ(cache.find(number_key(1)), block);
  EXPECT_NE(pool.take(), block);  // the empty one first
  EXPECT_EQ(cache.find(number_key(1)), block);
  EXPECT_EQ(pool.take(), block);
  EXPECT_EQ(cache.find(number_key(1)), -1);
}

TEST(PrefixCache, AKnownKeyKeepsItsBlock) {
  BlockPool pool(2);
  PrefixCache cache(pool);
  const int32_t first = pool.take(), second = pool.take();
  cache.insert(number_key(1), first);
  cache.insert(number_key(1), second);
  EXPECT_EQ(cache.find(number_key(1)), first);
}

TEST(PrefixCache, ForgetsAll) {
  BlockPool pool(1);
  PrefixCache cache(pool);
  cache.insert(number_key(1), pool.take());
  cache.clear();
  EXPECT_EQ(cache.find(number_key(1)), -1);
}

TEST(PrefixCache, AKeyCoversEverythingThatKAndVDependOn) {
  const std::vector<int32_t> tokens = {1, 2, 3, 4}, others = {1, 2, 3, 5};
  const std::vector<int32_t> positions = {0, 1, 2, 3}, shifted = {1, 2, 3, 4};
  const Hash128 picture = number_key(100), clip = number_key(200);
  const BlockMedia media = {.hash = picture, .source_begin = 4, .first = 1, .count = 2};
  std::vector<BlockMedia> variants(5, media);
  variants[1].hash = clip;
  variants[2].source_begin = 5;
  variants[3].first = 2;
  variants[4].count = 1;
  const Hash128 root = prefix_root("", {});
  std::set<Hash128> keys;
  for (const Hash128& start : {root, prefix_root("tenant", {}), prefix_root("", picture)})
    for (const auto* t : {&tokens, &others})
      for (const auto* p : {&positions, &shifted}) {
        keys.insert(block_key(start, {*t, *p, {}}));
        for (const BlockMedia& m : variants) keys.insert(block_key(start, {*t, *p, {&m, 1}}));
      }
  keys.insert(block_key(block_key(root, {tokens, positions, {}}), {tokens, positions, {}}));
  EXPECT_EQ(keys.size(), 3u * 2 * 2 * 6 + 1);
  EXPECT_EQ(block_key(root, {tokens, positions, {&media, 1}}),
            block_key(root, {tokens, positions, {&variants[0], 1}}));
}

// Sequences over a small alphabet come and go; whatever the cache returns must hold what its key
// says.
TEST(PrefixCache, RandomisedContentIsNeverStale) {
  std::mt19937 random(11);
  for (int round = 0; round < 10; ++round) {
    BlockPool pool(8 + static_cast<int64_t>(random() % 8));
    PrefixCache cache(pool);
    std::vector<uint64_t> content(
        static_cast<size_t>(pool.size()));  // what each block holds, as its chain's number
    std::vector<BlockTable> live;
    int64_t hits = 0;
    for (int step = 0; step < 1000; ++step) {
      if (live.size() > 2 || (!live.empty() && random() % 3 == 0)) live.pop_back();
      BlockTable table(pool, 1);
      uint64_t chain = 1;
      const int length = 1 + static_cast<int>(random() % 5);
      bool is_prefix = true;
      for (int i = 0; i < length; ++i) {
        chain = chain * 3 + random() % 2;
        const int32_t known = is_prefix ? cache.find(number_key(chain)) : -1;
        if (known >= 0) {
          ASSERT_EQ(content[static_cast<size_t>(known)], chain);
          table.share(known);
          ++hits;
          continue;
        }
        is_prefix = false;
        if (!table.grow_to(i + 1)) break;
        content[static_cast<size_t>(table.blocks().back())] = chain;
        cache.insert(number_key(chain), table.blocks().back());
      }
      live.push_back(std::move(table));
      ASSERT_LE(cache.size(), static_cast<size_t>(pool.size()));
    }
    EXPECT_GT(hits, 500);
    live.clear();
    EXPECT_EQ(pool.used(), 0);
  }
}

}  // namespace
}  // namespace quern
