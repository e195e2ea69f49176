// SPDX-License-Identifier: Apache-2.0
#include "pooling_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace quern {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string config_of(const std::string& architecture, const std::string& more = "") {
  return R"({"architectures": [")" + architecture + R"("], "model_type": "qwen2", )" + more +
         R"("hidden_size": 64})";
}

std::optional<ChosenPooling> choose(const PoolingFlags& flags,
                                    const std::string& config,
                                    const std::string& path = "") {
  return choose_pooling(
      flags, path, *shapes_only_checkpoint(Config::parse(config, "config.json"), {}));
}

std::string error(const PoolingFlags& flags,
                  const std::string& config,
                  const std::string& path = "") {
  try {
    choose(flags, config, path);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

const PoolingFlags kAuto{.runner = "auto", .convert = "auto", .pooler_config = {}};
const PoolingFlags kPooling{.runner = "pooling", .convert = "auto", .pooler_config = {}};

PoolingFlags with_config(std::string json) {
  return {.runner = "pooling", .convert = "auto", .pooler_config = std::move(json)};
}

TEST(PoolingOptions, AutoFollowsTheArchitecture) {
  EXPECT_FALSE(choose(kAuto, config_of("Qwen2ForCausalLM")));
  EXPECT_FALSE(choose({}, config_of("Qwen2Model")));  // commands without the flag generate
  const auto bare = choose(kAuto, config_of("Qwen2Model"));
  ASSERT_TRUE(bare);
  EXPECT_EQ(bare->pooling.output, Output::hidden);
  EXPECT_EQ(bare->pooling.type, PoolingType::last);
  EXPECT_TRUE(bare->pooling.is_activated);
  const auto classes = choose(
      kAuto,
      config_of("LlamaForSequenceClassification", R"("id2label": {"0": "no", "1": "yes"}, )"));
  ASSERT_TRUE(classes);
  EXPECT_EQ(classes->pooling.output, Output::scores);
  EXPECT_EQ(classes->pooling.activation, ScoreActivation::softmax);
  EXPECT_THAT(classes->pooling.labels, ElementsAre("no", "yes"));
  EXPECT_EQ(choose({.runner = "pooling", .convert = "embed", .pooler_config = {}},
                   config_of("LlamaForSequenceClassification"))
                ->pooling.output,
            Output::hidden);
}

TEST(PoolingOptions, ActivationsOfClasses) {
  const auto activation = [](const std::string& more) {
    return choose(kAuto, config_of("Qwen2ForSequenceClassification", more))->pooling.activation;
  };
  EXPECT_EQ(activation(R"("num_labels": 1, )"), ScoreActivation::sigmoid);
  EXPECT_EQ(activation(""), ScoreActivation::softmax);
  EXPECT_EQ(activation(R"("num_labels": 1, "problem_type": "regression", )"),
            ScoreActivation::none);
  EXPECT_EQ(activation(R"("problem_type": "multi_label_classification", )"),
            ScoreActivation::sigmoid);
  EXPECT_EQ(
      activation(
          R"("num_labels": 1, "sentence_transformers": {"activation_fn": "torch.nn.Identity"}, )"),
      ScoreActivation::none);
  EXPECT_THAT(error(kAuto,
                    config_of("Qwen2ForSequenceClassification",
                              R"("sentence_transformers": {"activation_fn": "my.Own"}, )")),
              HasSubstr("my.Own: this build has Sigmoid and Identity"));
}

TEST(PoolingOptions, TheFlagsDecide) {
  EXPECT_TRUE(choose(kPooling, config_of("Qwen2ForCausalLM")));
  const auto mean = choose(with_config(R"({"pooling_type": "MEAN", "normalize": false})"),
                           config_of("Qwen2ForCausalLM"));
  EXPECT_EQ(mean->pooling.type, PoolingType::mean);
  EXPECT_FALSE(mean->pooling.is_activated);
  const auto cut =
      choose(kPooling, config_of("Qwen2ForCausalLM", R"("matryoshka_dimensions": [16, 32], )"));
  EXPECT_TRUE(cut->pooling.is_matryoshka);
  EXPECT_THAT(cut->pooling.cuts, ElementsAre(16, 32));
}

TEST(PoolingOptions, RefusesWithAReason) {
  const std::string text = config_of("Qwen2ForCausalLM");
  EXPECT_THAT(error({.runner = "generate", .convert = "embed", .pooler_config = {}}, text),
              HasSubstr("--convert embed: only with --runner pooling"));
  EXPECT_THAT(error({.runner = "pooling", .convert = "none", .pooler_config = {}}, text),
              HasSubstr("--convert none: Qwen2ForCausalLM generates text"));
  EXPECT_THAT(error({.runner = "pooling", .convert = "classify", .pooler_config = {}}, text),
              HasSubstr("no classification head"));
  EXPECT_THAT(error({.runner = "generate", .convert = "auto", .pooler_config = "{}"}, text),
              HasSubstr("--pooler-config: only with --runner pooling"));
  EXPECT_THAT(error(with_config(R"({"pooling_type": "MAX"})"), text),
              HasSubstr("expected LAST, MEAN or CLS, got \"MAX\""));
  EXPECT_THAT(error(with_config(R"({"poolingtype": "LAST"})"), text),
              HasSubstr("did you mean --pooler-config.pooling_type"));
  EXPECT_THAT(error(with_config(R"({"enable_chunked_processing": true})"), text),
              HasSubstr("not cut into pieces"));
  EXPECT_THAT(error(with_config(R"({"foo": true})"), text), HasSubstr("no such field: foo"));
  EXPECT_THAT(error(with_config("[1]"), text), HasSubstr("expected an object"));
  EXPECT_THAT(error(with_config(R"({"pooling_type": "MEAN"})"),
                    config_of("Qwen2ForSequenceClassification")),
              HasSubstr("reads the last token"));
  EXPECT_THAT(error(kPooling, config_of("Qwen2Model", R"("is_causal": false, )")),
              HasSubstr("attends in both directions"));
  EXPECT_THAT(error(kPooling,
                    config_of("Qwen2VLForConditionalGeneration", R"("vision_config": {"a": 1}, )")),
              HasSubstr("models that see or hear"));
  EXPECT_THAT(error(kPooling, config_of("Qwen2ForCausalLM", R"("gguf_pooling_type": "RANK", )")),
              HasSubstr("expected LAST, MEAN or CLS, got \"RANK\""));
}

TEST(PoolingOptions, AFolderOfSentenceTransformersIsForEmbeddings) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "quern_pooling_options";
  std::filesystem::create_directories(folder / "1_Pooling");
  std::ofstream(folder / "modules.json")
      << R"([{"path": "", "type": "s.Transformer"}, {"path": "1_Pooling", "type": "s.Pooling"}])";
  const auto write = [&](int size) {
    std::ofstream(folder / "1_Pooling/config.json")
        << R"({"pooling_mode_mean_tokens": true, "word_embedding_dimension": )" << size << "}";
  };
  write(64);
  const std::string text = config_of("Qwen2ForCausalLM");
  const auto chosen = choose(kAuto, text, folder.string());
  ASSERT_TRUE(chosen);
  EXPECT_EQ(chosen->pooling.type, PoolingType::mean);
  EXPECT_FALSE(chosen->pooling.is_activated);
  EXPECT_FALSE(choose({}, text, folder.string()));
  EXPECT_EQ(choose(with_config(R"({"pooling_type": "LAST"})"), text, folder.string())->pooling.type,
            PoolingType::last);
  write(65);
  EXPECT_THAT(error(kAuto, text, folder.string()), HasSubstr("a hidden_size of 64"));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace quern
