// SPDX-License-Identifier: Apache-2.0
// What rows of a tower see: segments, and segments with what is before them; what frames a stem's
// rows see.
#include "nn/vision_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "nn/owned_ctx.h"
#include "nn/sound_stem.h"
#include "nn/test_checkpoint.h"

namespace quern {
namespace {

constexpr int64_t kWidth = 24, kHeads = 3, kRows = 11;

std::vector<float> numbers(int64_t count, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, 0.5f);
  std::vector<float> out(static_cast<size_t>(count));
  for (float& x : out) x = normal(engine);
  return out;
}

class TowerRows : public ::testing::Test {
 protected:
  TowerRows() {
    auto file = std::make_shared<TestCheckpoint>();
    uint32_t seed = 1;
    for (const char* name : {"q_proj", "k_proj", "v_proj", "proj"}) {
      file->add_f32(
          std::string(name) + ".weight", {kWidth, kWidth}, numbers(kWidth * kWidth, seed++));
      file->add_f32(std::string(name) + ".bias", {kWidth}, numbers(kWidth, seed++));
    }
    for (const char* name : {"conv1", "conv2"}) {
      file->add_f32(
          std::string(name) + ".weight", {kWidth, kWidth, 3}, numbers(kWidth * kWidth * 3, seed++));
      file->add_f32(std::string(name) + ".bias", {kWidth}, numbers(kWidth, seed++));
    }
    checkpoint_ = file;
  }
  VisionAttention attention() {
    return {Builder(checkpoint_, ctx_.ctx()),
            {.hidden = kWidth, .heads = kHeads, .is_stacked = false}};
  }
  MediaInput frames(int64_t rows) {
    MediaInput out;
    out.rows = rows;
    out.row_size = kWidth;
    out.values = numbers(rows * kWidth, 77);
    return out;
  }

  std::shared_ptr<const Checkpoint> checkpoint_;
  OwnedCtx ctx_{{.threads = 2, .isa = probe_topology().isa, .activation = Activation::f32}};
  const Tensor x_ = Tensor::from(numbers(kRows * kWidth, 99), {kRows, kWidth});
};

void expect_near(const Tensor& a, const Tensor& b, const char* what) {
  ASSERT_EQ(a.shape(), b.shape());
  for (int64_t i = 0; i < a.numel(); ++i)
    ASSERT_NEAR(a.data<float>()[i], b.data<float>()[i], 1e-5) << what << " at " << i;
}

// Row by row: a row among the rows that it sees, as one segment.
TEST_F(TowerRows, SeeTheBeginningAsFarAsTheirSegmentDoes) {
  const VisionAttention attention = this->attention();
  const int32_t segments[] = {0, 4, 8, kRows}, seen[] = {4, 7, 9};
  const Tensor got = attention(ctx_.ctx(), x_, {}, PrefixSight{segments, seen});
  for (int64_t row = 0; row < kRows; ++row) {
    const int64_t others = seen[row / 4];
    // The row's query lies behind the rows that it sees, in a segment of its own.
    Tensor rows = Tensor::empty({others + 1, kWidth}, DType::f32);
    const auto all = x_.span<float>();
    std::ranges::copy(all.first(static_cast<size_t>(others * kWidth)), rows.data<float>());
    std::ranges::copy(all.subspan(static_cast<size_t>(row * kWidth), kWidth),
                      rows.data<float>() + others * kWidth);
    const int32_t ends[] = {0, static_cast<int32_t>(others), static_cast<int32_t>(others + 1)},
                  prefix[] = {static_cast<int32_t>(others), static_cast<int32_t>(others)};
    const Tensor one = attention(ctx_.ctx(), rows, {}, PrefixSight{ends, prefix});
    expect_near(got.slice(0, row, row + 1), one.slice(0, others, others + 1), "row");
  }
}

TEST_F(TowerRows, OneSegmentThatSeesAllIsASegment) {
  const VisionAttention attention = this->attention();
  const int32_t segments[] = {0, kRows}, seen[] = {kRows};
  expect_near(attention(ctx_.ctx(), x_, {}, PrefixSight{segments, seen}),
              attention(ctx_.ctx(), x_, {}, segments),
              "whole");
}

TEST_F(TowerRows, DoNotFeelWhatTheyDoNotSee) {
  const VisionAttention attention = this->attention();
  const int32_t segments[] = {0, 4, kRows}, seen[] = {4, 9};
  const Tensor before = attention(ctx_.ctx(), x_, {}, PrefixSight{segments, seen});
  Tensor changed = Tensor::from(x_.span<float>(), x_.shape());
  for (float& value : changed.slice(0, 9, kRows).span<float>()) value *= 30;
  const Tensor after = attention(ctx_.ctx(), changed, {}, PrefixSight{segments, seen});
  expect_near(before.slice(0, 0, 9), after.slice(0, 0, 9), "rows before");
}

TEST_F(TowerRows, ACausalStemSeesNoFrameBehindItsOwn) {
  const Builder b(checkpoint_, ctx_.ctx());
  for (const StemSight sight : {StemSight::centred, StemSight::causal}) {
    const SoundStem stem(b, kWidth, kWidth, sight);
    for (const int64_t rows : {1, 2, 9, 12}) {
      const MediaInput whole = frames(rows);
      const Tensor all = stem(ctx_.ctx(), whole);
      ASSERT_EQ(all.dim(0), SoundStem::rows(rows));
      // Without the last frame: rows that do not see it stay as they are.
      MediaInput shorter = whole;
      shorter.rows = std::max<int64_t>(rows - 1, 1);
      shorter.values.resize(static_cast<size_t>(shorter.rows * kWidth));
      const Tensor part = stem(ctx_.ctx(), shorter);
      const int64_t last = rows - 1;  // row r sees frames up to 2 r, and 2 r + 2 if centred
      for (int64_t r = 0; r < part.dim(0); ++r) {
        const bool sees = rows > 1 && 2 * r + (sight == StemSight::causal ? 0 : 2) >= last;
        const bool is_equal =
            std::ranges::equal(all.slice(0, r, r + 1).contiguous().span<float>(),
                               part.slice(0, r, r + 1).contiguous().span<float>());
        EXPECT_EQ(is_equal, !sees) << "row " << r << " of " << rows << " frames, "
                                   << (sight == StemSight::causal ? "causal" : "centred");
      }
    }
  }
}

}  // namespace
}  // namespace quern
