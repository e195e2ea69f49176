// SPDX-License-Identifier: Apache-2.0
#include "nn/embedding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "nn/owned_ctx.h"
#include "nn/test_checkpoint.h"

namespace quern {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

class EmbeddingTest : public ::testing::Test {
 protected:
  void add_half(const std::string& name, Stored stored) {
    std::vector<std::byte> bytes;
    for (const float value : TestCheckpoint::counting(3, 2)) {
      const uint16_t half = stored == Stored::bf16 ? float_to_bf16(value) : float_to_f16(value);
      bytes.push_back(static_cast<std::byte>(half & 255));
      bytes.push_back(static_cast<std::byte>(half >> 8));
    }
    checkpoint_->add(name, stored, {3, 2}, bytes);
  }
  std::vector<float> rows(const std::string& name,
                          int64_t vocab,
                          int64_t hidden,
                          std::vector<int32_t> ids) {
    const Embedding embedding(Builder(checkpoint_, cpu_.ctx()), name, vocab, hidden);
    const Tensor y = embedding(cpu_.ctx(), ids);
    return {y.data<float>(), y.data<float>() + y.numel()};
  }

  std::shared_ptr<TestCheckpoint> checkpoint_ = std::make_shared<TestCheckpoint>();
  OwnedCtx cpu_{{.threads = 2}};
  OwnedCtx meta_ = OwnedCtx::meta(Isa::scalar);
};

TEST_F(EmbeddingTest, LooksUpRowsOfEveryFloatKind) {
  checkpoint_->add_counting("f32.weight", 3, 2);
  add_half("f16.weight", Stored::f16);
  add_half("bf16.weight", Stored::bf16);
  for (const char* name : {"f32", "f16", "bf16"})
    EXPECT_THAT(rows(name, 3, 2, {2, 0, 2}), ElementsAre(200, 201, 0, 1, 200, 201)) << name;
}

TEST_F(EmbeddingTest, UnpacksBlocksRowByRow) {
  checkpoint_->add_q8_0("table.weight", 5, 64);
  std::vector<float> expected;
  for (const int scale : {5, 1, 3})
    for (int k = 0; k < 64; ++k) expected.push_back(static_cast<float>(scale * (k % 32 - 16)));
  EXPECT_THAT(rows("table", 5, 64, {4, 0, 2}), ElementsAreArray(expected));
}

TEST_F(EmbeddingTest, RefusesIdsOutsideTheVocabulary) {
  checkpoint_->add_counting("table.weight", 3, 2);
  EXPECT_THROW(rows("table", 3, 2, {3}), Error);
  EXPECT_THROW(rows("table", 3, 2, {-1}), Error);
}

TEST_F(EmbeddingTest, TheSameTableServesAsOutputMatrix) {
  checkpoint_->add_q8_0("table.weight", 5, 64);
  const LmHead head(Builder(checkpoint_, cpu_.ctx()), "table", 5, 64);
  Tensor x = Tensor::zeros({1, 64}, DType::f32);
  x.data<float>()[31] = 2;
  EXPECT_THAT(head(cpu_.ctx(), x).span<float>(), ElementsAre(30, 60, 90, 120, 150));
}

TEST_F(EmbeddingTest, EveryRankGetsWholeRowsAndTheFirstAllLogits) {
  checkpoint_->add_counting("table.weight", 5, 4);
  for (int ranks = 1; ranks <= 8; ++ranks)
    for (int rank = 0; rank < ranks; ++rank) {
      const Builder b(checkpoint_, meta_.ctx(), Shard(rank, ranks));
      const std::vector<int32_t> ids = {4, 0, 1};
      EXPECT_EQ(Embedding(b, "table", 5, 4)(meta_.ctx(), ids).shape(), Shape({3, 4}));
      const Tensor logits = LmHead(b, "table", 5, 4)(meta_.ctx(), meta_.ctx().empty({2, 4}));
      EXPECT_EQ(logits.defined(), rank == 0);
      EXPECT_EQ(logits.shape(), rank == 0 ? Shape({2, 5}) : Shape());
    }
}

}  // namespace
}  // namespace quern
