// SPDX-License-Identifier: Apache-2.0
// Configs of every golden model with one key removed, negative, huge or of a wrong type: the model
// is refused by name, or it is made and runs (its shapes do). Nothing crashes, nothing else is
// thrown.
#include <gtest/gtest.h>

#include "base/log.h"
#include "models/golden_case.h"
#include "weights/with_config.h"

namespace quern {
namespace {

const std::vector<Json>& replacements() {
  static const std::vector<Json> all = {nullptr,
                                        -1,
                                        0,
                                        1,
                                        3,
                                        int64_t{1} << 40,
                                        1e300,
                                        -0.5,
                                        true,
                                        "text",
                                        Json::array(),
                                        Json::array({1, -2, "x"}),
                                        Json::object()};
  return all;
}

std::shared_ptr<const Checkpoint> with_json(std::shared_ptr<const Checkpoint> tensors,
                                            const Json& config) {
  return with_config(std::move(tensors), Config::parse(config.dump(), "config.json"));
}

// JSON pointers of all keys, at any depth.
void list_keys(const Json& part,
               const Json::json_pointer& at,
               std::vector<Json::json_pointer>& out) {
  if (!part.is_object()) return;
  for (const auto& [key, value] : part.items()) {
    out.push_back(at / key);
    list_keys(value, at / key, out);
  }
}

class ConfigFuzz : public ::testing::TestWithParam<std::string> {
 protected:
  // What became of it: "made", or the message of its refusal.
  std::string outcome(const Json& config) {
    const auto changed = with_json(case_.checkpoint(), config);
    try {
      const auto model = make_model(Builder(changed, meta_.ctx(), {}, case_.building()));
      const std::vector<int32_t> ids = {1, 2, 3}, last = {2};
      SequenceRunner(*model, meta_.ctx(), 3).prefill({ids, {}, 1, {}}, last);
      return "made";
    } catch (const Error& error) {
      return error.what();
    }
  }

  ModelGolden case_{GetParam(), Isa::scalar};
  OwnedCtx meta_ = OwnedCtx::meta(Isa::scalar);  // every check of sizes is the same there
};

TEST_P(ConfigFuzz, IsRefusedByNameOrRuns) {
  set_log_level(LogLevel::warn);
  const Json original = read_json_file(kGoldenFolder + GetParam() + "/config.json");
  std::vector<Json::json_pointer> keys;
  list_keys(original, Json::json_pointer(), keys);
  int made = 0, refused = 0;
  for (const Json::json_pointer& key : keys) {
    std::vector<Json> variants;
    Json without = original;
    without[key.parent_pointer()].erase(key.back());
    variants.push_back(without);
    for (const Json& value : replacements()) {
      variants.push_back(original);
      variants.back()[key] = value;
    }
    for (const Json& config : variants) {
      std::string said;
      ASSERT_NO_THROW(said = outcome(config)) << key.to_string() << " " << config.dump();
      if (said == "made") {
        ++made;
        continue;
      }
      ++refused;
      // Named are the file's key, or the tensor that no longer fits.
      const bool is_named = said.find("config.json") != std::string::npos ||
                            said.find("layers.") != std::string::npos ||
                            said.find("blocks.") != std::string::npos ||
                            said.find("weight") != std::string::npos;
      EXPECT_TRUE(is_named) << key.to_string() << ": " << said;
    }
  }
  std::printf("%s: %d configs run, %d refused\n", GetParam().c_str(), made, refused);
  EXPECT_GT(refused, 50);
}

INSTANTIATE_TEST_SUITE_P(Models,
                         ConfigFuzz,
                         ::testing::ValuesIn(golden_models()),
                         [](const auto& info) { return info.param; });

// What published files say and the models take for granted: a checkpoint that says otherwise.
struct Disagreement {
  const char *model, *key;
  Json value;
  const char* said;
};

TEST(Configs, ThatDisagreeAreRefusedByName) {
  const Disagreement all[] = {
      {"glm4v", "/text_config/attention_bias", false, "attention_bias"},
      {"glm4v", "/text_config/use_qk_norm", true, "use_qk_norm"},
      {"glm4v", "/text_config/hidden_act", "gelu", "hidden_act"},
      {"glm4v", "/text_config/partial_rotary_factor", 0.3, "partial_rotary_factor"},
      {"glm4v", "/text_config/rope_scaling/mrope_section", {2, 3, 4}, "mrope_section"},
      {"glm4v", "/vision_config/out_hidden_size", 64, "out_hidden_size"},
      {"glm4v", "/vision_config/attention_bias", true, "attn.qkv.bias"},
      {"glm4v", "/vision_config/image_size", 126, "position_embedding"},
      {"glm46v_moe", "/text_config/use_qk_norm", true, "use_qk_norm"},
      {"glm46v_moe", "/text_config/n_group", 4, "n_group"},
      {"glm46v_moe", "/text_config/num_experts_per_tok", 7, "num_experts_per_tok"},
      {"glm46v_moe", "/architectures/0", "Glm4vForConditionalGeneration", "mlp.gate"},
      {"glm4v", "/architectures/0", "Glm4vMoeForConditionalGeneration", "mlp.gate_up_proj"},
      {"glmasr", "/merge_factor", 2, "merge_factor"},
      {"glmasr", "/audio_config/num_key_value_heads", 3, "num_key_value_heads"},
      {"glmasr",
       "/audio_config/rope_parameters/partial_rotary_factor",
       0.1,
       "partial_rotary_factor"},
      {"glmasr", "/audio_config/hidden_size", 128, "conv1"},
      {"glmasr", "/audio_config/head_dim", 16, "self_attn.q_proj"},
      {"glmasr", "/audio_config/hidden_act", "relu6", "relu6"},
      {"hunyuan_vl", "/use_qk_norm", false, "use_qk_norm"},
      {"hunyuan_vl", "/mlp_bias", true, "mlp_bias"},
      {"hunyuan_vl", "/num_experts", 8, "num_experts"},
      {"hunyuan_vl", "/attention_head_dim", 16, "attention_head_dim"},
      {"hunyuan_vl", "/attention_bias", true, "q_proj.bias"},
      {"hunyuan_vl", "/rope_scaling/alpha", nullptr, "alpha"},
      {"hunyuan_vl", "/rope_scaling/factor", 4.0, "factor"},
      {"hunyuan_vl", "/rope_scaling/type", "yarn", "yarn"},
      {"hunyuan_vl", "/rope_scaling/xdrope_section", {4, 4, 8}, ""},
      {"hunyuan_vl", "/rope_scaling/xdrope_section", {4, 4, 4, 5}, "xdrope_section"},
      {"hunyuan_vl", "/vision_config/interpolate_mode", "bicubic", "interpolate_mode"},
      {"hunyuan_vl", "/vision_config/cat_extra_token", 0, "cat_extra_token"},
      {"hunyuan_vl", "/vision_config/max_image_size", 512, "position_embedding"}};
  for (const Disagreement& d : all) {
    ModelGolden original(d.model, Isa::scalar);
    Json config = read_json_file(kGoldenFolder + d.model + "/config.json");
    config[Json::json_pointer(d.key)] = d.value;
    const auto changed = with_json(original.checkpoint(), config);
    std::string said;
    try {
      make_model(Builder(changed, original.ctx()));
    } catch (const Error& error) {
      said = error.what();
    }
    EXPECT_NE(said.find(d.said), std::string::npos) << d.key << ": " << said;
    EXPECT_EQ(said.empty(), std::string_view(d.said).empty()) << d.key << ": " << said;
  }
}

}  // namespace
}  // namespace quern
