// SPDX-License-Identifier: Apache-2.0
#include "nn/heads.h"

#include <gtest/gtest.h>

namespace quern {
namespace {

constexpr HeadSizes kModels[] = {
    {12, 2, 128}, {28, 4, 128}, {64, 8, 128}, {9, 3, 64}, {16, 16, 80}, {4, 2, 32}};

// The KV head that each local KV head holds.
std::vector<int64_t> held(const HeadLayout& layout) {
  std::vector<int64_t> out;
  for (const Range rows : layout.kv_rows())
    for (int64_t row = rows.begin; row < rows.end; row += layout.head_size())
      out.push_back(row / layout.head_size());
  return out;
}

TEST(HeadLayout, EveryQueryHeadReadsItsOwnKvHeadAtEveryDegree) {
  for (const HeadSizes& sizes : kModels)
    for (int ranks = 1; ranks <= 8; ++ranks) {
      int64_t at = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const HeadLayout layout(Shard(rank, ranks), sizes);
        EXPECT_EQ(layout.q_rows().begin, at);
        at = layout.q_rows().end;
        const std::vector<int64_t> kv = held(layout);
        ASSERT_EQ(static_cast<int64_t>(kv.size()), layout.kv_heads());
        for (int64_t local = 0; local < layout.heads(); ++local) {
          const int64_t head = layout.q_rows().begin / sizes.head_size + local;
          ASSERT_EQ(layout.heads() % layout.kv_heads(), 0);
          EXPECT_EQ(kv[static_cast<size_t>(local / (layout.heads() / layout.kv_heads()))],
                    head / (sizes.heads / sizes.kv_heads))
              << sizes.heads << " heads, rank " << rank << " of " << ranks;
        }
      }
      EXPECT_EQ(at, sizes.heads * sizes.head_size);
    }
}

TEST(HeadLayout, CopiesKvHeadsOnlyWhereGroupsAreCut) {
  EXPECT_EQ(HeadLayout(Shard(0, 4), {28, 4, 128}).kv_heads(), 1);
  EXPECT_EQ(HeadLayout(Shard(1, 2), {12, 2, 128}).kv_rows(), (std::vector<Range>{{128, 256}}));
  // 9 heads on 4 ranks: rank 0 has heads 0..2 of KV head 0, rank 1 heads 3, 4 of KV head 1.
  EXPECT_EQ(HeadLayout(Shard(0, 4), {9, 3, 64}).kv_heads(), 1);
  // Rank 1 of 4 has heads 4 .. 7 of groups of 5: one reads KV head 0, three read KV head 1.
  EXPECT_EQ(held(HeadLayout(Shard(1, 4), {15, 3, 8})), (std::vector<int64_t>{0, 1, 1, 1}));
}

TEST(HeadLayout, IsEmptyBeyondTheLastHead) {
  const HeadLayout layout(Shard(7, 8), {4, 2, 32});
  EXPECT_EQ(layout.heads(), 0);
  EXPECT_EQ(layout.kv_heads(), 0);
  EXPECT_TRUE(layout.kv_rows().empty());
}

}  // namespace
}  // namespace quern
