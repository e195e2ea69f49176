// SPDX-License-Identifier: Apache-2.0
#include "nn/rope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "nn/owned_ctx.h"
#include "nn/yarn.h"

namespace quern {
namespace {

constexpr int64_t kSize = 32, kPairs = kSize / 2;

class RopeTest : public ::testing::Test {
 protected:
  Rope rope(const std::string& json, const RopeDefaults& defaults = {}) {
    checkpoint_ = shapes_only_checkpoint(Config::parse(json, "config.json"), {});
    return Rope::from(Builder(checkpoint_, meta_.ctx()), checkpoint_->config(), kSize, defaults);
  }
  // Radians per position of pair j: the angle at position 1 is small enough to be read back from
  // its tangent's two sides.
  std::vector<double> frequencies(const Rope& rope) {
    const std::vector<int32_t> one(static_cast<size_t>(rope.axes()), 1);
    const RopeTables tables = rope.tables(cpu_.ctx(), one, rope.axes());
    std::vector<double> out;
    for (int64_t j = 0; j < rope.angles(); ++j)
      out.push_back(std::atan2(tables.sin.data<float>()[j], tables.cos.data<float>()[j]));
    return out;
  }
  static double plain(int64_t j, double theta) {
    return std::pow(theta, -2.0 * static_cast<double>(j) / kSize);
  }

  OwnedCtx meta_ = OwnedCtx::meta(Isa::scalar);
  OwnedCtx cpu_{{}};
  std::shared_ptr<const Checkpoint> checkpoint_;
};

TEST_F(RopeTest, FrequenciesFallFromOneByTheta) {
  const std::vector<double> f = frequencies(rope(R"({"rope_theta": 500000})"));
  for (int64_t j = 0; j < kPairs; ++j)
    EXPECT_NEAR(f[static_cast<size_t>(j)], plain(j, 500000), 1e-6 * plain(j, 500000) + 1e-9);
}

TEST_F(RopeTest, ThetaDefaultsAndMayStandInRopeParameters) {
  EXPECT_NEAR(frequencies(rope("{}"))[3], plain(3, 10000), 1e-7);
  EXPECT_NEAR(frequencies(rope("{}", {.theta = 1e6}))[3], plain(3, 1e6), 1e-7);
  EXPECT_NEAR(
      frequencies(rope(R"({"rope_parameters": {"rope_type": "default", "rope_theta": 5000}})"))[3],
      plain(3, 5000),
      1e-7);
}

TEST_F(RopeTest, LinearScalingDividesEveryFrequency) {
  const std::vector<double> f = frequencies(
      rope(R"({"rope_theta": 10000, "rope_scaling": {"type": "linear", "factor": 4.0}})"));
  for (int64_t j = 0; j < kPairs; ++j)
    EXPECT_NEAR(f[static_cast<size_t>(j)], plain(j, 10000) / 4, 1e-7);
}

TEST_F(RopeTest, Llama3ScalingKeepsShortWavesAndStretchesLongOnes) {
  const std::vector<double> f = frequencies(
      rope(R"({"rope_theta": 10000, "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
      "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 256}})"));
  int kept = 0, stretched = 0, blended = 0;
  for (int64_t j = 0; j < kPairs; ++j) {
    const double base = plain(j, 10000), turns = 256 * base / (2 * std::numbers::pi);
    const double blend = (turns - 1) / 3;
    const double expected = turns > 4   ? base
                            : turns < 1 ? base / 8
                                        : (1 - blend) * base / 8 + blend * base;
    (turns > 4 ? kept : turns < 1 ? stretched : blended) += 1;
    EXPECT_NEAR(f[static_cast<size_t>(j)], expected, 2e-7) << j;
  }
  EXPECT_TRUE(kept > 0 && stretched > 0 && blended > 0);
}

// Every spelling of the three axes that files use.
TEST_F(RopeTest, SectionsTurnPairsWithTimeRowAndColumn) {
  for (
      const char* json :
      {R"({"rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]}})",
       R"({"rope_scaling": {"rope_type": "default", "type": "default", "mrope_section": [4, 6, 6]}})",
       R"({"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}})"}) {
    const Rope r = rope(json);
    ASSERT_EQ(r.axes(), 3);
    const std::vector<int32_t> positions = {5, 0, 7, 1, 9, 2};  // [3, 2]
    const RopeTables tables = r.tables(cpu_.ctx(), positions, 3);
    for (int64_t t = 0; t < 2; ++t)
      for (int64_t j = 0; j < kPairs; ++j) {
        const int32_t position = positions[static_cast<size_t>((j < 4 ? 0 : j < 10 ? 2 : 4) + t)];
        EXPECT_NEAR(
            tables.sin.data<float>()[t * kPairs + j], std::sin(position * plain(j, 10000)), 2e-6)
            << json << " pair " << j;
      }
  }
  EXPECT_EQ(rope("{}", {.theta = 1e6, .sections = {4, 6, 6}}).axes(), 3);
}

TEST_F(RopeTest, OneRowOfPositionsServesEveryAxis) {
  const Rope r = rope(R"({"rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]}})");
  const std::vector<int32_t> one = {3, 8}, three = {3, 8, 3, 8, 3, 8};
  const RopeTables a = r.tables(cpu_.ctx(), one, 1), b = r.tables(cpu_.ctx(), three, 3);
  EXPECT_TRUE(std::ranges::equal(a.cos.span<float>(), b.cos.span<float>()));
}

TEST_F(RopeTest, TowersTurnWithRowAndColumn) {
  const Rope r = Rope::rows_and_columns(16, 10000);
  ASSERT_EQ(r.angles(), 8);
  const std::vector<int32_t> positions = {3, 11};  // row 3, column 11
  const RopeTables tables = r.tables(cpu_.ctx(), positions, 2);
  for (int64_t j = 0; j < 4; ++j) {
    const double frequency = std::pow(10000.0, -static_cast<double>(j) / 4);
    EXPECT_NEAR(tables.cos.data<float>()[j], std::cos(3 * frequency), 1e-6);
    EXPECT_NEAR(tables.cos.data<float>()[4 + j], std::cos(11 * frequency), 1e-6);
  }
}

// Both layouts of sections of 2, 1, 3, 2 pairs over four axes.
TEST_F(RopeTest, SectionsOverPairsOrElements) {
  const int64_t sections[] = {2, 1, 3, 2};
  const std::vector<int32_t> positions = {5, 7, 11, 13};
  const uint8_t by_pairs[] = {0, 0, 1, 2, 2, 2, 3, 3},
                by_elements[] = {0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3};
  const auto check = [&](Rope::Sections layout, std::span<const uint8_t> axes) {
    const Rope r = Rope::sectioned(16, 10000, sections, layout);
    ASSERT_EQ(r.axes(), 4);
    ASSERT_EQ(r.angles(), static_cast<int64_t>(axes.size()));
    const RopeTables tables = r.tables(cpu_.ctx(), positions, 4);
    for (size_t d = 0; d < axes.size(); ++d) {
      const double frequency = std::pow(10000.0, -static_cast<double>(d % 8) / 8);
      EXPECT_NEAR(tables.sin.data<float>()[d], std::sin(positions[axes[d]] * frequency), 2e-6);
    }
  };
  check(Rope::Sections::pairs, by_pairs);
  check(Rope::Sections::elements, by_elements);
}

// Kimi-K2's dimensions: 64 of base 50000, trained on 4096.
TEST(Yarn, StretchesLowFrequenciesAlone) {
  Yarn yarn{.factor = 64, .original_positions = 4096, .beta_fast = 1, .beta_slow = 1};
  const auto kept = [](size_t j) { return std::pow(50000.0, -static_cast<double>(j) / 32); };
  const std::vector<float> step = yarn.frequencies(64, 50000);
  for (size_t j = 0; j < step.size(); ++j)
    EXPECT_NEAR(step[j] / kept(j), j <= 19 ? 1.0 : 1.0 / 64, 1e-5) << j;
  yarn.beta_fast = 32;
  const std::vector<float> ramp = yarn.frequencies(64, 50000);
  for (size_t j = 0; j < ramp.size(); ++j) {
    const double share = std::clamp((static_cast<double>(j) - 8) / 12, 0.0, 1.0);
    EXPECT_NEAR(ramp[j] / kept(j), 1 - share + share / 64, 1e-5) << j;
  }
}

TEST(Yarn, HasTwoTemperatures) {
  Yarn yarn{.factor = 64, .original_positions = 4096, .mscale = 1, .mscale_all_dim = 1};
  EXPECT_FLOAT_EQ(yarn.table_scale(), 1.0f);
  EXPECT_NEAR(yarn.softmax_scale() / std::sqrt(192.0), 0.1446796, 1e-7);
  yarn.mscale = yarn.mscale_all_dim = 0;
  EXPECT_NEAR(yarn.table_scale(), 1.415888, 1e-6);
  EXPECT_EQ(yarn.softmax_scale(), 1.0);
  yarn.attention_factor = 2;
  EXPECT_EQ(yarn.table_scale(), 2.0f);
}

TEST_F(RopeTest, NamesWhatItCannotDo) {
  const auto message = [&](const std::string& json) -> std::string {
    try {
      rope(json);
    } catch (const Error& e) {
      return format("{}: {}", name_of(e.code()), e.what());
    }
    return "no error";
  };
  EXPECT_THAT(message(R"({"rope_scaling": {"type": "longrope", "factor": 2}})"),
              ::testing::HasSubstr("unsupported"));
  EXPECT_THAT(message(R"({"rope_scaling": {"type": "yarn", "factor": 2}})"),
              ::testing::HasSubstr("original_max_position_embeddings"));
  EXPECT_THAT(message(R"({"rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 7]}})"),
              ::testing::HasSubstr("sum to 16, got"));
  EXPECT_THAT(message(R"({"rope_scaling": {"type": "linear", "factor": 0}})"),
              ::testing::HasSubstr("factor"));
  EXPECT_THAT(message(R"({"rope_theta": 0})"), ::testing::HasSubstr("rope_theta"));
}

}  // namespace
}  // namespace quern
