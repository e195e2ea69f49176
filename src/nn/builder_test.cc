// SPDX-License-Identifier: Apache-2.0
#include "nn/builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "nn/mlp.h"
#include "nn/owned_ctx.h"
#include "nn/test_checkpoint.h"

namespace quern {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class BuilderTest : public ::testing::Test {
 protected:
  Builder builder(Ctx& ctx, Shard shard = {}) const { return Builder(checkpoint_, ctx, shard); }
  // The layer's answer to the unit vector of input k.
  std::vector<float> column(const Linear& linear, int64_t k) {
    std::vector<float> x(static_cast<size_t>(linear.cols()), 0.0f);
    x[static_cast<size_t>(k)] = 1;
    const Tensor y = linear(cpu_.ctx(), Tensor::from(x, {1, linear.cols()}));
    return {y.data<float>(), y.data<float>() + y.numel()};
  }
  template <typename Body>
  static std::string message_of(Body&& body) {
    try {
      body();
    } catch (const Error& e) {
      return format("{}: {}", name_of(e.code()), e.what());
    }
    return "no error";
  }

  std::shared_ptr<TestCheckpoint> checkpoint_ =
      std::make_shared<TestCheckpoint>(R"({"torch_dtype": "float16"})");
  OwnedCtx cpu_{{}};
  OwnedCtx meta_ = OwnedCtx::meta(Isa::scalar);
};

TEST_F(BuilderTest, StepsDownAndFindsTensors) {
  checkpoint_->add_counting("model.layers.3.mlp.up_proj.weight", 2, 3);
  const Builder b = builder(cpu_.ctx()) / "model.layers" / 3 / "mlp";
  EXPECT_EQ(b.prefix(), "model.layers.3.mlp");
  EXPECT_TRUE(b.has("up_proj.weight"));
  EXPECT_FALSE(b.has("gate_proj.weight"));
}

TEST_F(BuilderTest, StacksMatricesAlongTheirOutputs) {
  checkpoint_->add_counting("a.weight", 2, 3);
  checkpoint_->add_counting("b.weight", 2, 3);
  checkpoint_->add_f32("a.bias", {2}, {0.25f, 0.5f});
  checkpoint_->add_f32("b.bias", {2}, {0.125f, 0});
  const Linear y = builder(cpu_.ctx()).whole({"a", "b"}, 2, 3, Bias::present);
  EXPECT_EQ(y.rows(), 4);
  EXPECT_THAT(column(y, 2), ElementsAre(2.25f, 102.5f, 2.125f, 102));
}

TEST_F(BuilderTest, TakesTheRowsThatARankHoldsInTheirOrder) {
  checkpoint_->add_counting("qkv.weight", 12, 2);
  std::vector<float> bias(12);
  for (size_t i = 0; i < 12; ++i) bias[i] = static_cast<float>(i) / 16;
  checkpoint_->add_f32("qkv.bias", {12}, bias);
  const Linear y =
      builder(cpu_.ctx()).stack({{"qkv", 12, {{2, 4}, {6, 7}, {11, 12}}}}, 2, Bias::present);
  EXPECT_THAT(column(y, 1),
              ElementsAre(201 + 2 / 16.0f, 301 + 3 / 16.0f, 601 + 6 / 16.0f, 1101 + 11 / 16.0f));
}

// Row r of the matrix holds (r + 1) (k % 32 - 16).
TEST_F(BuilderTest, TakesAQuantizedMatrixApartIntoHeads) {
  checkpoint_->add_q8_0("kv.weight", 6, 64);
  const std::vector<Range> rows = {{1, 3}, {4, 6}};
  const Builder b = builder(cpu_.ctx());
  const auto plain = b.heads("kv", {6, 64}, rows, Builder::Turned::no);
  const auto turned = b.heads("kv", {6, 64}, rows, Builder::Turned::yes);
  ASSERT_EQ(plain.size(), 2u);
  EXPECT_EQ(plain[1]->rows(), 2);
  EXPECT_EQ(turned[1]->rows(), 64);
  std::vector<float> unit(64, 0.0f);
  unit[40] = 1;
  const Tensor y = ops::matmul(cpu_.ctx(), Tensor::from(unit, {1, 64}), *plain[1]);
  EXPECT_THAT(std::vector<float>(y.data<float>(), y.data<float>() + 2), ElementsAre(-40, -48));
  const Tensor z =
      ops::matmul(cpu_.ctx(), Tensor::from(std::vector<float>{0, 1}, {1, 2}), *turned[0]);
  EXPECT_EQ(z.data<float>()[40], -24);
  EXPECT_EQ(z.data<float>()[63], 45);
}

TEST_F(BuilderTest, SkipsABiasThatTheArchitectureLacks) {
  checkpoint_->add_counting("o.weight", 2, 2);
  checkpoint_->add_f32("o.bias", {2}, {9, 9});
  EXPECT_THAT(column(builder(cpu_.ctx()).whole({"o"}, 2, 2), 0), ElementsAre(0, 100));
}

// Of a stack, matrices without a bias add zero; where none has one there is none.
TEST_F(BuilderTest, AFileDecidesOfItsBiases) {
  for (const char* name : {"a", "b", "c"})
    checkpoint_->add_counting(std::string(name) + ".weight", 2, 2);
  checkpoint_->add_f32("b.bias", {2}, {0.25f, 0.5f});
  const Builder b = builder(cpu_.ctx());
  EXPECT_THAT(column(b.whole({"a", "b", "c"}, 2, 2, Bias::if_stored), 0),
              ElementsAre(0, 100, 0.25f, 100.5f, 0, 100));
  EXPECT_THAT(column(b.whole({"a"}, 2, 2, Bias::if_stored), 0), ElementsAre(0, 100));
  EXPECT_THAT(column(b.head("b", Cut::whole(2), 2, Bias::if_stored), 0),
              ElementsAre(0.25f, 100.5f));
}

TEST_F(BuilderTest, RanksTogetherHoldTheWhole) {
  checkpoint_->add_counting("first.weight", 13, 4);
  checkpoint_->add_counting("second.weight", 4, 13);
  checkpoint_->add_f32("second.bias", {4}, {1, 2, 3, 4});
  for (int ranks = 1; ranks <= 8; ++ranks) {
    int64_t outputs = 0, inputs = 0;
    std::vector<float> sum(4, 0.0f);
    for (int rank = 0; rank < ranks; ++rank) {
      const Builder b = builder(cpu_.ctx(), Shard(rank, ranks));
      const Cut inner = b.cut(13, {"first"}, {"second"});
      outputs += b.columns({"first"}, inner, 4).rows();
      const Linear part = b.rows("second", 4, inner, Bias::present);
      inputs += part.cols();
      if (part.cols() == 0) continue;
      // This rank's summand, past the sum that needs the other ranks.
      const Tensor ones = Tensor::from(std::vector<float>(static_cast<size_t>(part.cols()), 1.0f),
                                       {1, part.cols()});
      const Tensor y = ops::matmul(cpu_.ctx(), ones, *part.weight());
      for (int64_t n = 0; n < 4; ++n) sum[static_cast<size_t>(n)] += y.data<float>()[n];
    }
    EXPECT_EQ(outputs, 13);
    EXPECT_EQ(inputs, 13);
    EXPECT_THAT(sum, ElementsAre(78, 78 + 1300, 78 + 2600, 78 + 3900)) << ranks << " ranks";
  }
}

TEST_F(BuilderTest, CutsQuantizedInputsAtBlocks) {
  checkpoint_->add_counting("mlp.gate_proj.weight", 96, 4);
  checkpoint_->add_counting("mlp.up_proj.weight", 96, 4);
  checkpoint_->add_q8_0("mlp.down_proj.weight", 4, 96);
  for (int ranks = 1; ranks <= 8; ++ranks)
    for (int rank = 0; rank < ranks; ++rank) {
      const Builder b = builder(meta_.ctx(), Shard(rank, ranks));
      const GatedMlp mlp(b / "mlp", 4, 96);
      EXPECT_EQ(mlp.down.cols() % 32, 0);
      EXPECT_EQ(mlp.gate_up.rows(), 2 * mlp.down.cols());
      EXPECT_EQ(mlp(meta_.ctx(), meta_.ctx().empty({5, 4})).shape(), Shape({5, 4}));
    }
}

// Heads of 40 over blocks of 32: both sides hold the scale of the block between them.
TEST_F(BuilderTest, CutsThroughBlocksWhereHeadsDo) {
  checkpoint_->add_q8_0("o_proj.weight", 4, 96);
  for (const Range part : {Range{0, 40}, {40, 96}}) {
    const Linear y = builder(cpu_.ctx()).rows("o_proj", 4, {96, {part}});
    for (int64_t k = 0; k < part.size(); ++k) {
      const float code = static_cast<float>((part.begin + k) % 32 - 16);
      EXPECT_THAT(column(y, k), ElementsAre(code, 2 * code, 3 * code, 4 * code));
    }
  }
}

// An inner axis is cut where int8 inputs change their scale: only the order of sums differs.
TEST_F(BuilderTest, Int8InputsHaveTheirScalesAtEveryDegree) {
  constexpr int64_t kInputs = 1024;
  checkpoint_->add_q8_0("down.weight", 4, kInputs);
  OwnedCtx int8{{.activation = Activation::int8}};
  std::vector<float> x;
  for (int64_t k = 0; k < kInputs; ++k) x.push_back(std::sin(static_cast<float>(k * k)));
  const Tensor whole =
      builder(int8.ctx())
          .rows("down", 4, Cut::whole(kInputs))(int8.ctx(), Tensor::from(x, {1, kInputs}));
  for (const int ranks : {2, 3, 5, 8}) {
    std::vector<float> sum(4, 0.0f);
    for (int rank = 0; rank < ranks; ++rank) {
      const Builder b = builder(int8.ctx(), Shard(rank, ranks));
      const Cut cut = b.cut(kInputs, {}, {"down"});
      EXPECT_EQ(cut.parts[0].begin % 128, 0);
      const auto part = std::span(x).subspan(static_cast<size_t>(cut.parts[0].begin),
                                             static_cast<size_t>(cut.size()));
      const Linear down = b.rows("down", 4, cut);
      const Tensor y = ops::matmul(int8.ctx(), Tensor::from(part, {1, cut.size()}), *down.weight());
      for (size_t n = 0; n < 4; ++n) sum[n] += y.data<float>()[n];
    }
    for (size_t n = 0; n < 4; ++n)
      EXPECT_NEAR(sum[n], whole.data<float>()[n], 1e-5 * std::abs(whole.data<float>()[n]) + 1e-3)
          << ranks << " ranks";
  }
}

TEST_F(BuilderTest, AnEmptyPartGivesTheBiasOnce) {
  checkpoint_->add_counting("down.weight", 2, 3);
  checkpoint_->add_f32("down.bias", {2}, {5, 6});
  const Linear first =
      builder(meta_.ctx(), Shard(0, 8)).rows("down", 2, {3, {{0, 0}}}, Bias::present);
  EXPECT_EQ(first(meta_.ctx(), meta_.ctx().empty({3, 0})).shape(), Shape({3, 2}));
  const Linear alone(nullptr, Tensor::from(std::vector<float>{5, 6}, {2}), 2, 0);
  const Tensor y = alone(cpu_.ctx(), Tensor::empty({2, 0}, DType::f32));
  EXPECT_THAT(y.span<float>(), ElementsAre(5, 6, 5, 6));
}

TEST_F(BuilderTest, NamesSizesThatDisagree) {
  checkpoint_->add_counting("mlp.down_proj.weight", 4, 96);
  checkpoint_->add_f32("norm.weight", {3}, {1, 1, 1});
  const Builder b = builder(cpu_.ctx());
  EXPECT_THAT(message_of([&] { b.whole({"mlp.down_proj"}, 4, 128); }),
              HasSubstr("data_loss: mlp.down_proj: expected [4, 128] by config.json, got [4, 96]"));
  EXPECT_THAT(message_of([&] { b.vector("norm.weight", 4); }),
              HasSubstr("norm.weight: expected [4]"));
  EXPECT_THAT(message_of([&] { b.vector("norms.weight", 3); }), HasSubstr("not_found"));
  EXPECT_THAT(message_of([&] { b.whole({"mlp.down_proj"}, 4, 96, Bias::present); }),
              HasSubstr("mlp.down_proj.bias"));
}

TEST_F(BuilderTest, TakesTheConfigAtItsWordWithoutWeights) {
  const Builder b = builder(meta_.ctx());
  EXPECT_FALSE(b.has_weights());
  const Linear y =
      b.columns({"gate_proj", "up_proj"}, b.cut(96, {"gate_proj", "up_proj"}, {"down_proj"}), 32);
  EXPECT_EQ(y.rows(), 192);
  EXPECT_GE(b.loaded_bytes(), 192 * 32 * 2);  // float16, as the config says
  EXPECT_THAT(message_of([&] { builder(cpu_.ctx()); }),
              HasSubstr("not_found: config.json: there are no weights"));
}

}  // namespace
}  // namespace quern
