// SPDX-License-Identifier: Apache-2.0
// Configs that are wrong in one key: refused by its name, or harmless; never a crash.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/golden_case.h"

namespace quern {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

const char* const kFolders[] = {"deepseek_v3", "kimi_k2", "kimi_k2_int4"};

// Keys of config.json that decide what is computed, and those of rope_scaling.
const char* const kKeys[] = {"first_k_dense_replace",
                             "hidden_size",
                             "intermediate_size",
                             "kv_lora_rank",
                             "max_position_embeddings",
                             "moe_intermediate_size",
                             "n_group",
                             "n_routed_experts",
                             "norm_topk_prob",
                             "num_attention_heads",
                             "num_experts_per_tok",
                             "num_hidden_layers",
                             "qk_nope_head_dim",
                             "qk_rope_head_dim",
                             "rms_norm_eps",
                             "rope_theta",
                             "routed_scaling_factor",
                             "topk_group",
                             "v_head_dim",
                             "vocab_size"};
const char* const kRopeKeys[] = {"beta_fast",
                                 "beta_slow",
                                 "factor",
                                 "mscale",
                                 "mscale_all_dim",
                                 "original_max_position_embeddings"};

Json config_of(const std::string& folder) {
  return read_json_file(kGoldenFolder + folder + "/config.json");
}

// The tensors of a golden folder under another config, by their shapes; what building says.
std::string message_of(const std::string& folder, const Json& config) {
  const auto file = open_checkpoint(kGoldenFolder + folder);
  std::vector<TensorInfo> tensors;
  for (const std::string& name : file->names()) tensors.push_back(file->info(name));
  OwnedCtx meta = OwnedCtx::meta(Isa::avx2);
  try {
    const auto model = make_model(Builder(
        shapes_only_checkpoint(Config::parse(config.dump(), "config.json"), tensors), meta.ctx()));
    const std::vector<int32_t> ids = {1, 2, 3}, last = {2};
    SequenceRunner(*model, meta.ctx(), 3).prefill({ids, {}, 1, {}}, last);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(DeepseekConfig, AKeyThatIsMissingNegativeOrOfAWrongTypeIsNamed) {
  for (const std::string folder : kFolders) {
    ASSERT_EQ(message_of(folder, config_of(folder)), "");
    const auto expect_named = [&](const std::string& key, const Json& config, const char* how) {
      EXPECT_THAT(message_of(folder, config), HasSubstr(key)) << folder << ": " << how;
    };
    for (const std::string key : kKeys) {
      Json config = config_of(folder);
      config.erase(key);
      expect_named(key, config, "missing");
      config[key] = "many";
      expect_named(key, config, "text");
      config[key] = Json::array({1});
      expect_named(key, config, "an array");
      config[key] = -3;
      expect_named(key, config, "negative");
    }
    for (const std::string key : kRopeKeys) {
      Json config = config_of(folder);
      config["rope_scaling"].erase(key);
      expect_named(key, config, "missing");
      config["rope_scaling"][key] = "many";
      expect_named(key, config, "text");
      config["rope_scaling"][key] = -3;
      expect_named(key, config, "negative");
    }
  }
}

// Beyond any model, or beyond this one's tensors: refused, whether by the key or by the tensor that
// then does not fit.
TEST(DeepseekConfig, WhatIsHugeIsRefused) {
  for (const std::string folder : kFolders)
    for (const std::string key : kKeys) {
      if (key == "norm_topk_prob" || key == "max_position_embeddings" || key == "rope_theta")
        continue;
      for (const int64_t value :
           {int64_t{1} << 62, int64_t{1} << 33, int64_t{40000}, int64_t{999}}) {
        Json config = config_of(folder);
        if (!config[key].is_number_integer() && value < 40000) continue;
        config[key] = value;
        const bool may_hold = key == "first_k_dense_replace" || key == "routed_scaling_factor" ||
                              key == "num_hidden_layers";
        const std::string message = message_of(folder, config);
        EXPECT_TRUE(may_hold || !message.empty()) << folder << ": " << key << " " << value;
      }
    }
}

TEST(DeepseekConfig, WhatThisFamilyDoesNotKnowIsNamed) {
  Json config = config_of("kimi_k2");
  const auto with = [&](const std::string& key, const Json& value) {
    Json changed = config;
    changed[key] = value;
    return message_of("kimi_k2", changed);
  };
  EXPECT_THAT(with("scoring_func", "softmax"), HasSubstr("scoring_func softmax"));
  EXPECT_THAT(with("topk_method", "greedy"), HasSubstr("topk_method greedy"));
  EXPECT_THAT(with("num_key_value_heads", 2), HasSubstr("num_key_value_heads 2"));
  EXPECT_THAT(with("hidden_act", "gelu"), HasSubstr("hidden_act gelu"));
  EXPECT_THAT(with("rope_scaling", "yarn"), HasSubstr("rope_scaling"));
  EXPECT_THAT(with("q_lora_rank", Json()), AnyOf(HasSubstr("q_proj"), HasSubstr("[")));
  config["rope_scaling"]["type"] = "dynamic";
  EXPECT_THAT(with("hidden_act", "silu"), HasSubstr("type dynamic"));
}

}  // namespace
}  // namespace quern
