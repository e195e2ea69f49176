// SPDX-License-Identifier: Apache-2.0
// Convolutions from files: every spelling of weight normalisation, and shapes that are refused.
#include "nn/time_conv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/error_of.h"
#include "nn/owned_ctx.h"
#include "nn/test_checkpoint.h"

namespace quern {
namespace {

std::vector<float> random_values(size_t count, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> deviates;
  std::vector<float> out(count);
  for (float& value : out) value = deviates(engine);
  return out;
}

class TimeConvFiles : public ::testing::Test {
 protected:
  // g v / |v| by axis 0.
  static std::vector<float> normed(const std::vector<float>& g, const std::vector<float>& v) {
    const size_t size = v.size() / g.size();
    std::vector<float> out = v;
    for (size_t n = 0; n < g.size(); ++n) {
      double squares = 0;
      for (size_t i = 0; i < size; ++i) squares += double{v[n * size + i]} * v[n * size + i];
      for (size_t i = 0; i < size; ++i)
        out[n * size + i] = static_cast<float>(g[n] * v[n * size + i] / std::sqrt(squares));
    }
    return out;
  }
  Builder builder() { return {files_, ctx_.ctx()}; }

  std::shared_ptr<TestCheckpoint> files_ = std::make_shared<TestCheckpoint>();
  OwnedCtx ctx_{{.threads = 2, .isa = probe_topology().isa}};
};

TEST_F(TimeConvFiles, EverySpellingOfWeightNormalisationIsTheSame) {
  const std::vector<float> g = random_values(6, 1), v = random_values(6 * 4 * 3, 2),
                           bias = random_values(6, 3);
  files_->add_f32("a.weight", {6, 4, 3}, normed(g, v));
  files_->add_f32("b.weight_g", {6, 1, 1}, g);
  files_->add_f32("b.weight_v", {6, 4, 3}, v);
  files_->add_f32("c.parametrizations.weight.original0", {6, 1, 1}, g);
  files_->add_f32("c.parametrizations.weight.original1", {6, 4, 3}, v);
  for (const char* name : {"a", "b", "c"}) files_->add_f32(std::string(name) + ".bias", {6}, bias);
  const Tensor x = Tensor::from(random_values(9 * 4, 4), {9, 4});
  const Tensor plain = TimeConv(builder() / "a")(ctx_.ctx(), x);
  ASSERT_EQ(plain.shape(), Shape({9, 6}));
  for (const char* name : {"b", "c"}) {
    const Tensor y = TimeConv(builder() / name)(ctx_.ctx(), x);
    for (int64_t i = 0; i < y.numel(); ++i)
      EXPECT_NEAR(y.data<float>()[i], plain.data<float>()[i], 1e-5) << name;
  }
}

// The norm of a transposed convolution is taken for each input channel: that is its first axis.
TEST_F(TimeConvFiles, ATransposedOneIsNormedByItsInputs) {
  const std::vector<float> g = random_values(4, 5), v = random_values(4 * 6 * 4, 6),
                           bias = random_values(6, 7);
  files_->add_f32("a.weight", {4, 6, 4}, normed(g, v));
  files_->add_f32("b.weight_g", {4, 1, 1}, g);
  files_->add_f32("b.weight_v", {4, 6, 4}, v);
  for (const char* name : {"a", "b"}) files_->add_f32(std::string(name) + ".bias", {6}, bias);
  const Tensor x = Tensor::from(random_values(5 * 4, 8), {5, 4});
  const Tensor plain = TransposedTimeConv(builder() / "a", 2)(ctx_.ctx(), x),
               y = TransposedTimeConv(builder() / "b", 2)(ctx_.ctx(), x);
  ASSERT_EQ(y.shape(), Shape({10, 6}));
  for (int64_t i = 0; i < y.numel(); ++i)
    EXPECT_NEAR(y.data<float>()[i], plain.data<float>()[i], 1e-5);
}

TEST_F(TimeConvFiles, ShapesThatAreNoConvolutionAreRefused) {
  files_->add_f32("even.weight", {2, 2, 4}, random_values(16, 1));
  files_->add_f32("flat.weight", {2, 2}, random_values(4, 1));
  files_->add_f32("odd.weight", {3, 2, 3}, random_values(18, 1));
  files_->add_f32("parts.weight_g", {3, 1, 1}, random_values(3, 1));
  files_->add_f32("parts.weight_v", {2, 2, 3}, random_values(12, 1));
  for (const char* name : {"even", "flat", "odd", "parts"})
    files_->add_f32(std::string(name) + ".bias", {2}, {0, 0});
  const auto refused = [&](const char* name, const TimeConvRule& rule = {}) {
    return error_of([&] { TimeConv(builder() / name, rule); });
  };
  EXPECT_THAT(refused("even"), testing::StartsWith("data_loss: even"));
  EXPECT_THAT(refused("flat"), testing::StartsWith("data_loss: flat"));
  EXPECT_THAT(refused("odd", {.groups = 2}), testing::StartsWith("data_loss: odd"));
  EXPECT_THAT(refused("parts"), testing::StartsWith("data_loss: parts.weight_g"));
  EXPECT_THAT(refused("none"), testing::StartsWith("not_found"));
  EXPECT_THAT(error_of([&] { TransposedTimeConv(builder() / "odd", 2); }),
              testing::StartsWith("data_loss: odd"));
}

}  // namespace
}  // namespace quern
