// SPDX-License-Identifier: Apache-2.0
#include "weights/quantization_config.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "weights/checkpoint.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

QuantizationConfig parse(std::string_view text) {
  return QuantizationConfig(Config::parse(text, "config.json"));
}

// With `fields` as quantization_config.
QuantizationConfig stated(std::string_view fields) {
  return parse(format(R"({{"quantization_config": {}}})", fields));
}

ErrorCode code_of(std::string_view fields) {
  try {
    stated(fields);
  } catch (const Error& e) {
    EXPECT_NE(e.message().find("config.json"), std::string::npos) << e.message();
    return e.code();
  }
  ADD_FAILURE() << fields << " was accepted";
  return ErrorCode::internal;
}

TEST(QuantizationConfig, IsEmptyWhereNothingIsStated) {
  const QuantizationConfig none = parse("{}");
  EXPECT_FALSE(none.is_stated());
  EXPECT_EQ(none.method(), "");
  EXPECT_EQ(none.version(), "");
  EXPECT_FALSE(none.is_not_converted("lm_head"));
  EXPECT_FALSE(none.scheme_of("lm_head").bits);
}

TEST(QuantizationConfig, IsFoundUnderEveryKey) {
  EXPECT_EQ(parse(R"({"compression_config": {"quant_method": "compressed-tensors"}})").method(),
            "compressed-tensors");
  EXPECT_EQ(parse(R"({"text_config": {"quantization_config": {"quant_method": "FP8"}}})").method(),
            "fp8");
}

TEST(QuantizationConfig, ReadsAwqInBothSpellings) {
  for (const char* text :
       {R"({"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": true,
            "version": "GEMM", "modules_to_not_convert": ["visual"]})",
        R"({"w_bit": 4, "q_group_size": 64, "zero_point": true, "version": "gemm",
            "modules_to_not_convert": ["visual"]})"}) {
    const QuantizationConfig q = stated(text);
    EXPECT_EQ(q.method(), "awq");
    EXPECT_EQ(q.version(), "gemm");
    const ModuleScheme scheme = q.scheme_of("model.layers.0.mlp.up_proj");
    EXPECT_EQ(scheme.bits, 4);
    EXPECT_EQ(scheme.group_size, 64);
    EXPECT_EQ(scheme.symmetric, false);
    EXPECT_TRUE(q.is_not_converted("visual.blocks.0.attn.qkv"));
    EXPECT_FALSE(q.is_not_converted("model.layers.0.mlp.up_proj"));
  }
}

TEST(QuantizationConfig, ExcludesByThePrefixesOfEitherGeneration) {
  EXPECT_TRUE(stated(R"({"quant_method": "awq", "modules_to_not_convert": ["model.visual"]})")
                  .is_not_converted("visual.blocks.0.attn.qkv"));
  EXPECT_FALSE(stated(R"({"quant_method": "awq", "modules_to_not_convert": null})")
                   .is_not_converted("visual.blocks.0.attn.qkv"));
  EXPECT_TRUE(stated(R"({"quant_method": "fp8", "ignored_layers": ["lm_head"]})")
                  .is_not_converted("lm_head"));
}

TEST(QuantizationConfig, AppliesTheFirstDynamicPatternThatMatches) {
  const QuantizationConfig q = stated(
      R"({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": true, "desc_act": false,
          "dynamic": {"-:model\\.layers\\.[01]\\..*": {},
                      "+:.*\\.1[0-9]\\..*down_proj": {"bits": 8, "sym": false},
                      ".*down_proj": {"group_size": 32, "desc_act": true}}})");
  EXPECT_TRUE(q.scheme_of("model.layers.1.mlp.down_proj").is_excluded);
  const ModuleScheme eight = q.scheme_of("model.layers.12.mlp.down_proj");
  EXPECT_EQ(eight.bits, 8);
  EXPECT_EQ(eight.symmetric, false);
  EXPECT_EQ(eight.group_size, 128);
  const ModuleScheme small = q.scheme_of("model.layers.2.mlp.down_proj");
  EXPECT_EQ(small.bits, 4);
  EXPECT_EQ(small.group_size, 32);
  EXPECT_EQ(small.desc_act, true);
  EXPECT_EQ(q.scheme_of("model.layers.2.mlp.up_proj").group_size, 128);
}

TEST(QuantizationConfig, ReadsAutoRound) {
  const QuantizationConfig q = stated(
      R"({"quant_method": "intel/auto-round", "packing_format": "auto_round:auto_gptq", "bits": 4,
          "group_size": 128, "sym": true,
          "extra_config": {"model.language_model.layers.0.mlp.up_proj": {"bits": 8},
                           "lm_head": {"bits": 16}}})");
  EXPECT_EQ(q.method(), "gptq");
  EXPECT_EQ(q.scheme_of("model.layers.0.mlp.up_proj").bits, 8);
  EXPECT_TRUE(q.scheme_of("lm_head").is_excluded);
  EXPECT_EQ(
      stated(R"({"quant_method": "auto-round", "packing_format": "auto_round:auto_awq"})").method(),
      "awq");
}

TEST(QuantizationConfig, SaysMarlinHoweverItIsSpelled) {
  EXPECT_EQ(stated(R"({"quant_method": "gptq", "is_marlin_format": true})").checkpoint_format(),
            "marlin");
  EXPECT_EQ(
      stated(R"({"quant_method": "gptq", "checkpoint_format": "GPTQ_v2"})").checkpoint_format(),
      "gptq_v2");
}

TEST(QuantizationConfig, RefusesWhatIsOutOfRange) {
  EXPECT_EQ(code_of(R"([])"), ErrorCode::data_loss);
  EXPECT_EQ(code_of(R"({"quant_method": 4})"), ErrorCode::data_loss);
  EXPECT_EQ(code_of(R"({"quant_method": "gptq", "bits": 0})"), ErrorCode::data_loss);
  EXPECT_EQ(code_of(R"({"quant_method": "gptq", "bits": "4"})"), ErrorCode::data_loss);
  EXPECT_EQ(code_of(R"({"quant_method": "gptq", "group_size": 0})"), ErrorCode::data_loss);
  EXPECT_EQ(code_of(R"({"quant_method": "gptq", "group_size": -2})"), ErrorCode::data_loss);
  EXPECT_EQ(code_of(R"({"quant_method": "gptq", "group_size": 1e15})"), ErrorCode::data_loss);
  EXPECT_EQ(code_of(R"({"quant_method": "awq", "modules_to_not_convert": [1]})"),
            ErrorCode::data_loss);
  EXPECT_EQ(code_of(R"({"quant_method": "gptq", "dynamic": []})"), ErrorCode::data_loss);
  EXPECT_EQ(code_of(R"({"quant_method": "gptq", "dynamic": {"(": {}}})"), ErrorCode::unsupported);
}

TEST(QuantizationConfig, IsReadBesideConfigJson) {
  const fs::path folder = fs::temp_directory_path() / "quern_quantization_config_test";
  fs::create_directories(folder);
  const auto write = [&](const char* name, const char* text) {
    std::ofstream(folder / name) << text;
  };
  write("config.json", "{}");
  write("hf_quant_config.json", R"({"quantization": {"quant_algo": "NVFP4"}})");
  EXPECT_EQ(open_checkpoint(folder.string())->quantization().method(), "modelopt");
  write("quantize_config.json", R"({"bits": 4, "group_size": 128, "desc_act": false})");
  const auto checkpoint = open_checkpoint(folder.string());
  EXPECT_EQ(checkpoint->quantization().method(), "gptq");
  EXPECT_EQ(checkpoint->quantization().scheme_of("x").group_size, 128);
  fs::remove_all(folder);
}

TEST(ModulePattern, MatchesAtTheStartAsPythonDoes) {
  EXPECT_TRUE(ModulePattern("model.*proj", "key").matches("model.layers.0.q_proj.x"));
  EXPECT_FALSE(ModulePattern("layers", "key").matches("model.layers.0.q_proj"));
  EXPECT_TRUE(ModulePattern(".*self_attn.*", "key").matches("model.layers.0.self_attn.q_proj"));
  EXPECT_FALSE(ModulePattern(".*mlp\\.gate$", "key").matches("model.layers.0.mlp.gate_proj"));
  EXPECT_TRUE(
      ModulePattern("model\\.language_model\\.layers", "key").matches("model.layers.0.q_proj"));
}

TEST(ModulePattern, StaysSmallAndQuick) {
  EXPECT_THROW(ModulePattern(std::string(600, 'a'), "key"), Error);
  EXPECT_THROW(ModulePattern("(a{9}){9}", "key"), Error);
  EXPECT_NO_THROW(ModulePattern("layers\\.\\d{1,2}\\.", "key"));
  // Exponential for a matcher that backtracks.
  EXPECT_FALSE(ModulePattern("(a*)*(a*)*b", "key").matches(std::string(200, 'a')));
}

}  // namespace
}  // namespace quern
