// SPDX-License-Identifier: Apache-2.0
// The spark family on checkpoints made here, in every layout that its files may have.
#include "models/spark_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"
#include "models/registry.h"
#include "nn/owned_ctx.h"
#include "nn/sequence_runner.h"
#include "nn/thread_ranks.h"

namespace quern {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Layout = SparkLayout;

const std::vector<int32_t> kIds = {3, 11, 5, 0, 49, 7, 7, 20};

const std::pair<const char*, Layout> kLayouts[] = {
    {"plain", {}},
    {"tied", {.is_tied = true}},
    {"biases", {.has_biases = true}},
    {"layer norms", {.has_biases = true, .has_layer_norms = true}},
    {"interleaved rotation", {.is_interleaved = true}},
    {"exact gelu", {.act = "gelu"}},
    {"tanh gelu", {.has_biases = true, .act = "gelu_pytorch_tanh"}},
    {"stacked",
     {.qkv = Layout::Qkv::in_order,
      .gate = Layout::Gate::gate_first,
      .has_biases = true,
      .has_megatron_names = true}},
    {"by KV group",
     {.qkv = Layout::Qkv::by_kv_group,
      .gate = Layout::Gate::up_first,
      .has_biases = true,
      .has_layer_norms = true,
      .has_megatron_names = true,
      .act = "gelu"}}};

std::vector<float> logits_of(const Model& model, Ctx& ctx) {
  std::vector<int32_t> rows(kIds.size());
  std::iota(rows.begin(), rows.end(), 0);
  SequenceRunner runner(model, ctx, static_cast<int64_t>(kIds.size()));
  const Tensor out = runner.prefill({kIds, {}, 1, {}}, rows, 3);
  return {out.span<float>().begin(), out.span<float>().end()};
}

std::vector<float> logits_of(const std::string& folder, Isa isa = Isa::scalar) {
  OwnedCtx owned({.isa = isa});
  const auto model = make_model(Builder(open_checkpoint(folder), owned.ctx()));
  return logits_of(*model, owned.ctx());
}

std::string message_of(const std::string& folder) {
  try {
    logits_of(folder);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Spark, EveryLayoutGivesWhatPlainLoopsGive) {
  for (const auto& [name, layout] : kLayouts) {
    const SparkFolder folder(layout);
    const std::vector<double> expected = folder.logits(kIds);
    for (const Isa isa : {Isa::scalar, probe_topology().isa}) {
      const std::vector<float> got = logits_of(folder.path(), isa);
      ASSERT_EQ(got.size(), expected.size()) << name;
      for (size_t i = 0; i < got.size(); ++i)
        ASSERT_NEAR(got[i], expected[i], 2e-4 * (1 + std::abs(expected[i]))) << name << " " << i;
    }
  }
}

// Rotated by the other style, nothing but the first position is the same.
TEST(Spark, TheRotaryStyleIsTheConfigs) {
  const SparkFolder half({}), interleaved({.is_interleaved = true});
  EXPECT_NE(logits_of(half.path()), logits_of(interleaved.path()));
}

TEST(Spark, UnderLlamasNamesItIsLlama) {
  const SparkFolder folder({});
  const std::vector<float> spark = logits_of(folder.path());
  Json config = folder.config();
  config["model_type"] = "llama";
  config["architectures"] = Json::array({"LlamaForCausalLM"});
  folder.write("config.json", config.dump());
  EXPECT_EQ(spark, logits_of(folder.path()));
}

TEST(Spark, RanksAndStagesAgreeWithOne) {
  for (const auto& [name, layout] : kLayouts) {
    const SparkFolder folder(layout);
    const std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(folder.path());
    OwnedCtx owned({});
    const auto on = [&](const Degrees& degrees) {
      const ThreadRanks model(
          checkpoint, OwnedCtx::Options{}, degrees, [](const Builder& b) { return make_model(b); });
      return logits_of(model, owned.ctx());
    };
    const std::vector<float> one = on({});
    EXPECT_EQ(on({.stages = 2}), one) << name;
    const std::vector<float> three = on({.tensor = 3});
    for (size_t i = 0; i < one.size(); ++i) ASSERT_NEAR(three[i], one[i], 2e-3) << name;
  }
}

TEST(Spark, OnlyAsMuchBiasAsTheFileHas) {
  const SparkFolder folder({});
  const std::vector<float> without = logits_of(folder.path());
  folder.write_weights({{"model.layers.1.self_attn.k_proj.bias", 16},
                        {"model.layers.0.mlp.up_proj.bias", SparkFolder::kInner},
                        {"lm_head.bias", SparkFolder::kVocab}});
  EXPECT_EQ(without, logits_of(folder.path()));  // they are zero, and read
  folder.write_weights({{"model.layers.1.self_attn.k_proj.bias", 15}});
  EXPECT_THAT(message_of(folder.path()), HasSubstr("k_proj.bias: expected [16]"));
}

TEST(Spark, ATensorThatNothingTakesIsRefused) {
  const SparkFolder folder({});
  folder.write_weights({{"model.layers.0.self_attn.q_norm.weight", 8}});
  EXPECT_THAT(message_of(folder.path()), HasSubstr("model.layers.0.self_attn.q_norm.weight"));
  folder.write_weights({{"model.layers.2.mlp.up_proj.bias", SparkFolder::kInner}});
  EXPECT_THAT(message_of(folder.path()), HasSubstr("num_hidden_layers is 2"));
  folder.write_weights({{"model.layers.0.input_layernorm.bias", SparkFolder::kHidden}});
  EXPECT_THAT(message_of(folder.path()),
              AllOf(HasSubstr("input_layernorm has a bias"), HasSubstr("has none")));
}

TEST(Spark, KeysWithoutADefaultAreNamed) {
  const SparkFolder folder({});
  for (const char* key : {"hidden_act",
                          "rms_norm_eps",
                          "max_position_embeddings",
                          "hidden_size",
                          "intermediate_size",
                          "num_hidden_layers",
                          "num_attention_heads",
                          "vocab_size"}) {
    Json config = folder.config();
    config.erase(key);
    folder.write("config.json", config.dump());
    EXPECT_THAT(message_of(folder.path()), HasSubstr(key));
  }
}

TEST(Spark, WhatItDoesNotHaveIsRefused) {
  const SparkFolder folder({});
  const auto with = [&](const std::string& key, const Json& value) {
    Json config = folder.config();
    config[key] = value;
    folder.write("config.json", config.dump());
    return message_of(folder.path());
  };
  EXPECT_THAT(with("hidden_act", "gelu_gate"), HasSubstr("hidden_act gelu_gate"));
  EXPECT_THAT(with("rope_style", "neox"), HasSubstr("rope_style"));
  EXPECT_THAT(with("sliding_window", 4096), HasSubstr("sliding_window 4096"));
  EXPECT_THAT(with("partial_rotary_factor", 0.5), HasSubstr("partial_rotary_factor 0.5"));
  EXPECT_EQ(with("partial_rotary_factor", 1.0), "no error");
  EXPECT_THAT(with("num_experts", 8), HasSubstr("num_experts 8"));
  EXPECT_THAT(with("tie_word_embeddings", true), "no error");  // the file's own matrix is used
  EXPECT_THAT(with("num_key_value_heads", 1), HasSubstr("k_proj"));
}

TEST(Spark, ItsNamesakesAreOtherFamilies) {
  const SparkFolder folder({});
  for (const char* type : {"spark2_5", "spark3", "iflytekspark", "dspark"}) {
    Json config = folder.config();
    config["model_type"] = type;
    folder.write("config.json", config.dump());
    EXPECT_THAT(message_of(folder.path()), HasSubstr(format("model_type \"{}\"", type)));
  }
}

TEST(Spark, AnUntiedHeadThatIsMissingIsNamed) {
  const SparkFolder folder({.is_tied = true});
  Json config = folder.config();
  config["tie_word_embeddings"] = false;
  folder.write("config.json", config.dump());
  EXPECT_THAT(message_of(folder.path()), HasSubstr("lm_head"));
}

}  // namespace
}  // namespace quern
