// SPDX-License-Identifier: Apache-2.0
#include "weights/formats/compressed_targets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace quern {
namespace {

using testing::HasSubstr;

CompressedTargets parse(std::string_view groups, std::string_view rest = "") {
  return CompressedTargets(
      Config::parse(format(R"({{"config_groups": {}{}}})", groups, rest), "config.json"));
}

std::string refusal(std::string_view groups, std::string_view rest = "") {
  try {
    parse(groups, rest);
  } catch (const Error& e) {
    return format("{}: {}", name_of(e.code()), e.what());
  }
  return "read";
}

constexpr std::string_view kLinears =
    R"({"g": {"targets": ["Linear"], "weights": {"num_bits": 4, "group_size": 32}}})";

TEST(CompressedTargets, IgnoreWins) {
  const CompressedTargets t = parse(
      kLinears, R"(, "ignore": ["lm_head", "re:.*self_attn.*", "model.layers.1.mlp.up_proj"])");
  EXPECT_EQ(t.scheme_of("lm_head"), nullptr);
  EXPECT_EQ(t.scheme_of("model.layers.0.self_attn.q_proj"), nullptr);
  EXPECT_EQ(t.scheme_of("model.layers.1.mlp.up_proj"), nullptr);
  ASSERT_NE(t.scheme_of("model.layers.11.mlp.up_proj"), nullptr);
  EXPECT_EQ(t.scheme_of("model.layers.11.mlp.up_proj")->bits, 4);
}

TEST(CompressedTargets, PatternsMatchFromTheStartAndNotToTheEnd) {
  const CompressedTargets t =
      parse(kLinears, R"(, "ignore": ["re:layers", "re:model\\.layers\\.1\\."])");
  EXPECT_NE(t.scheme_of("model.layers.0.up_proj"), nullptr);
  EXPECT_EQ(t.scheme_of("model.layers.1.up_proj"), nullptr);
  EXPECT_NE(t.scheme_of("model.layers.11.up_proj"), nullptr);
}

TEST(CompressedTargets, NamesAreMatchedInEitherGeneration) {
  const CompressedTargets t = parse(
      kLinears,
      R"(, "ignore": ["model.language_model.layers.0.a", "re:visual.*", "re:language_model\\.model\\.layers\\.1\\."])");
  EXPECT_EQ(t.scheme_of("model.layers.0.a"), nullptr);
  EXPECT_EQ(t.scheme_of("visual.blocks.0.attn.qkv"), nullptr);
  EXPECT_EQ(t.scheme_of("model.layers.1.a"), nullptr);
}

TEST(CompressedTargets, ANameIsStrongerThanAPatternThanAClass) {
  const CompressedTargets t = parse(R"({
      "a": {"targets": ["Linear"], "weights": {"num_bits": 2}},
      "b": {"targets": ["re:.*down_proj"], "weights": {"num_bits": 3}},
      "c": {"targets": ["model.layers.0.down_proj"], "weights": {"num_bits": 8}},
      "d": {"targets": ["Linear"], "weights": null}})");
  EXPECT_EQ(t.scheme_of("model.layers.0.up_proj")->bits, 2);
  EXPECT_EQ(t.scheme_of("model.layers.1.down_proj")->bits, 3);
  EXPECT_EQ(t.scheme_of("model.layers.0.down_proj")->bits, 8);
}

TEST(CompressedTargets, EmbeddingsAndRoutersAreNoLinears) {
  const CompressedTargets t = parse(kLinears);
  EXPECT_EQ(t.scheme_of("model.embed_tokens"), nullptr);
  EXPECT_EQ(t.scheme_of("model.layers.3.mlp.gate"), nullptr);
  EXPECT_NE(t.scheme_of("model.layers.3.mlp.gate_proj"), nullptr);
}

TEST(CompressedTargets, ReadsEveryStrategy) {
  const auto block_of = [](std::string_view weights) {
    const CompressedTargets t =
        parse(format(R"({{"g": {{"targets": ["Linear"], "weights": {}}}}})", weights));
    const auto block = t.scheme_of("x")->block;
    return block ? std::pair(block->rows, block->cols) : std::pair<int64_t, int64_t>(-1, -1);
  };
  EXPECT_EQ(block_of(R"({"strategy": "tensor"})"), std::pair(0l, 0l));
  EXPECT_EQ(block_of(R"({"strategy": "channel", "group_size": -1})"), std::pair(1l, 0l));
  EXPECT_EQ(block_of(R"({"strategy": "group", "group_size": 64})"), std::pair(1l, 64l));
  EXPECT_EQ(block_of(R"({"strategy": "tensor_group", "group_size": 16})"), std::pair(1l, 16l));
  EXPECT_EQ(block_of(R"({"strategy": "block", "block_structure": [64, 32]})"), std::pair(64l, 32l));
  EXPECT_EQ(block_of(R"({"strategy": "block", "block_structure": "128x64"})"),
            std::pair(128l, 64l));
  EXPECT_EQ(block_of(R"({"strategy": "block"})"), std::pair(128l, 128l));
  EXPECT_EQ(block_of(R"({"group_size": 32})"), std::pair(1l, 32l));
  EXPECT_EQ(block_of(R"({"group_size": -1})"), std::pair(1l, 0l));
  EXPECT_EQ(block_of("{}"), std::pair(0l, 0l));
  EXPECT_EQ(block_of(R"({"strategy": "token"})"), std::pair(-1l, -1l));
}

TEST(CompressedTargets, AGroupsOwnFormatComesFirst) {
  const CompressedTargets t = parse(R"({
      "a": {"targets": ["x"], "format": "Pack-Quantized", "weights": {}},
      "b": {"targets": ["y"], "weights": {}}})",
                                    R"(, "format": "mixed-precision")");
  EXPECT_EQ(t.scheme_of("x")->format, "pack-quantized");
  EXPECT_EQ(t.scheme_of("y")->format, "mixed-precision");
}

TEST(CompressedTargets, RefusesWhatMakesNoSense) {
  EXPECT_THAT(refusal(R"({"g": {"weights": {"strategy": "group"}}})"),
              HasSubstr("data_loss: config.json: config_groups: g: weights: key group_size"));
  EXPECT_THAT(refusal(R"({"g": {"weights": {"strategy": "block", "block_structure": [0, 1]}}})"),
              HasSubstr("key block_structure: expected two positive sizes"));
  EXPECT_THAT(refusal(R"({"g": {"weights": {"num_bits": 64}}})"), HasSubstr("key num_bits"));
  EXPECT_THAT(refusal(R"({"g": {"targets": 7}})"), HasSubstr("read"));  // no weights: not ours
  EXPECT_THAT(refusal(R"({"g": {"targets": 7, "weights": {}}})"), HasSubstr("key targets"));
  EXPECT_THAT(refusal("[]"), HasSubstr("config_groups"));
  EXPECT_THAT(refusal("{}", R"(, "ignore": ["re:("])"),
              HasSubstr("unsupported: config.json: ignore: \"(\""));
}

TEST(CompressedTargets, HostilePatternsEnd) {
  const CompressedTargets t = parse(kLinears, R"(, "ignore": ["re:(a*)*(a*)*(a|a)*(a+)+b"])");
  EXPECT_NE(t.scheme_of(std::string(500, 'a')), nullptr);
}

}  // namespace
}  // namespace quern
