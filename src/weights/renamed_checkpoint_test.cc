// SPDX-License-Identifier: Apache-2.0
#include "weights/renamed_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "base/error.h"
#include "weights/config_aliases.h"
#include "weights/name_map.h"
#include "weights/safetensors_writer.h"

namespace quern {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A folder whose tensors hold their own row number in every column.
class Folder {
 public:
  Folder()
      : path_(fs::temp_directory_path() /
              format("quern_names_{}", reinterpret_cast<uintptr_t>(this))) {
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
  }
  void write_tensors(const std::map<std::string, Shape>& tensors) const {
    std::vector<SafetensorsEntry> entries;
    std::string data;
    for (const auto& [name, shape] : tensors) {
      entries.push_back({name, Stored::f32, shape, 0, 0});
      const int64_t cols = shape.rank() == 2 ? shape[1] : 1;
      for (int64_t i = 0; i < shape.numel(); ++i) {
        const auto value = static_cast<float>(i / cols);
        data.append(reinterpret_cast<const char*>(&value), sizeof value);
      }
    }
    write("model.safetensors", safetensors_header(entries, {}) + data);
  }
  std::string path() const { return path_.string(); }
  std::string error(const std::string& names_file = {}) const {
    try {
      open_checkpoint(path(), names_file);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }

 private:
  fs::path path_;
};

// 4 heads in 2 KV groups of size 2, F = 3.
constexpr const char* kSpark =
    R"({"model_type": "spark", "n_embd": 8, "n_layer": 1, "n_head": 4, "multi_query_group_num": 2,
        "ffn_hidden_size": 3)";

std::map<std::string, Shape> around() {
  return {{"transformer.embedding.word_embeddings.weight", {5, 8}},
          {"transformer.encoder.final_layernorm.weight", {8}},
          {"transformer.output_layer.weight", {5, 8}}};
}

std::vector<float> rows_of(const Checkpoint& c, const std::string& name) {
  const Tensor t = read_f32(c, name);
  const int64_t cols = t.rank() == 2 ? t.dim(1) : 1;
  std::vector<float> out;
  for (int64_t r = 0; r < t.dim(0); ++r) out.push_back(t.data<float>()[r * cols]);
  return out;
}

TEST(NamePattern, MatchesWholeNamesInOnePass) {
  const NamePattern p = NamePattern::parse("h.{n}.attn.wq.{part}");
  const auto places = p.match("h.12.attn.wq.bias");
  ASSERT_TRUE(places);
  EXPECT_EQ(places->layer, "12");
  EXPECT_EQ(places->part, "bias");
  EXPECT_EQ(NamePattern::parse("x.{n}.{part}").fill(*places), "x.12.bias");
  for (const char* other : {"h.12.attn.wq",
                            "h.012.attn.wq.bias",
                            "h.12345.attn.wq.bias",
                            "h..attn.wq.bias",
                            "h.1.attn.wq.bias.x",
                            "h.1.attn.wq.",
                            "g.1.attn.wq.bias"})
    EXPECT_FALSE(p.match(other)) << other;
  for (const char* wrong :
       {"", "a.{m}", "a.{n}.{n}", "a.{n}1", "a{part}", "a.{part}b", "a.}", "{n}{part}"})
    EXPECT_THROW(NamePattern::parse(wrong), Error) << wrong;
  EXPECT_THROW(NamePattern::parse(std::string(300, 'a')), Error);
}

TEST(ConfigAliases, OnlyTheSparkFamilyIsRespelt) {
  const Config c = with_published_keys(Config::parse(std::string(kSpark) + "}", "config.json"));
  EXPECT_EQ(c.integer("hidden_size"), 8);
  EXPECT_EQ(c.integer("num_key_value_heads"), 2);
  const Config other = with_published_keys(Config::parse(R"({"n_embd": 8})", "config.json"));
  EXPECT_FALSE(other.has("hidden_size"));
  try {
    with_published_keys(
        Config::parse(std::string(kSpark) + R"(, "hidden_size": 9})", "config.json"));
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), AllOf(HasSubstr("hidden_size is 9"), HasSubstr("n_embd is 8")));
  }
}

TEST(RenamedCheckpoint, FusedRowsComeApartAsTheConfigSays) {
  Folder folder;
  auto tensors = around();
  const std::string layer = "transformer.encoder.layers.0.";
  tensors[layer + "self_attention.query_key_value.weight"] = {16, 8};
  tensors[layer + "self_attention.query_key_value.bias"] = {16};
  tensors[layer + "mlp.dense_h_to_4h.weight"] = {6, 8};
  folder.write_tensors(tensors);
  folder.write("config.json", std::string(kSpark) + "}");
  EXPECT_THAT(folder.error(), AllOf(HasSubstr("dense_h_to_4h"), HasSubstr("gate_up_order")));
  folder.write("quern_names.json", R"({"config": {"gate_up_order": "up_first"}})");
  EXPECT_THAT(folder.error(), AllOf(HasSubstr("query_key_value"), HasSubstr("qkv_layout")));
  folder.write("config.json", std::string(kSpark) + R"(, "qkv_layout": "in_order"})");
  const auto stacked = open_checkpoint(folder.path());
  const std::string at = "model.layers.0.";
  EXPECT_THAT(rows_of(*stacked, at + "self_attn.q_proj.weight"),
              ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_THAT(rows_of(*stacked, at + "self_attn.k_proj.bias"), ElementsAre(8, 9, 10, 11));
  EXPECT_THAT(rows_of(*stacked, at + "self_attn.v_proj.weight"), ElementsAre(12, 13, 14, 15));
  EXPECT_THAT(rows_of(*stacked, at + "mlp.up_proj.weight"), ElementsAre(0, 1, 2));
  EXPECT_THAT(rows_of(*stacked, at + "mlp.gate_proj.weight"), ElementsAre(3, 4, 5));
  EXPECT_TRUE(stacked->has("lm_head.weight") && stacked->has("model.norm.weight"));
  folder.write("config.json", std::string(kSpark) + R"(, "qkv_layout": "by_kv_group"})");
  const auto grouped = open_checkpoint(folder.path());
  EXPECT_THAT(rows_of(*grouped, at + "self_attn.q_proj.weight"),
              ElementsAre(0, 1, 2, 3, 8, 9, 10, 11));
  EXPECT_THAT(rows_of(*grouped, at + "self_attn.k_proj.weight"), ElementsAre(4, 5, 12, 13));
  EXPECT_THAT(rows_of(*grouped, at + "self_attn.v_proj.bias"), ElementsAre(6, 7, 14, 15));
}

TEST(RenamedCheckpoint, RowsThatDoNotAddUpAreRefused) {
  Folder folder;
  auto tensors = around();
  tensors["transformer.encoder.layers.0.mlp.dense_h_to_4h.weight"] = {7, 8};
  folder.write_tensors(tensors);
  folder.write("config.json", std::string(kSpark) + R"(, "gate_up_order": "gate_first"})");
  EXPECT_THAT(folder.error(), AllOf(HasSubstr("expected 6 rows"), HasSubstr("got [7, 8]")));
}

TEST(RenamedCheckpoint, ATensorWithoutAPlaceIsNamed) {
  Folder folder;
  auto tensors = around();
  tensors["transformer.encoder.layers.0.mlp.gate_norm.weight"] = {8};
  folder.write_tensors(tensors);
  folder.write("config.json", std::string(kSpark) + "}");
  EXPECT_THAT(folder.error(), AllOf(HasSubstr("gate_norm"), HasSubstr("quern_names.json")));
  // Of other families nothing is asked.
  folder.write("config.json", R"({"model_type": "llama"})");
  EXPECT_EQ(folder.error(), "no error");
  tensors.clear();
  tensors["model.layers.1.mlp.up_proj.weight"] = {3, 8};
  folder.write_tensors(tensors);
  folder.write("config.json", std::string(kSpark) + "}");
  EXPECT_THAT(folder.error(), HasSubstr("num_hidden_layers is 1"));
}

TEST(RenamedCheckpoint, AFileOfNamesPlacesWhateverThereIs) {
  Folder folder;
  folder.write("config.json", std::string(kSpark) + "}");
  folder.write_tensors({{"layers.0.attn.qkv.weight", {16, 8}},
                        {"layers.0.ff.w13.weight", {6, 8}},
                        {"tok.weight", {5, 8}},
                        {"rope.freqs", {4}}});
  folder.write("names.json", R"({"tensors": [
    {"from": "tok.weight", "to": "model.embed_tokens.weight"},
    {"from": "rope.freqs", "to": null},
    {"from": "layers.{n}.attn.qkv.{part}", "rows": "by_kv_group",
     "to": ["model.layers.{n}.self_attn.q_proj.{part}", "model.layers.{n}.self_attn.k_proj.{part}",
            "model.layers.{n}.self_attn.v_proj.{part}"]},
    {"from": "layers.{n}.ff.w13.{part}", "rows": "in_order",
     "to": ["model.layers.{n}.mlp.up_proj.{part}", "model.layers.{n}.mlp.gate_proj.{part}"]}]})");
  const auto c = open_checkpoint(folder.path(), folder.path() + "/names.json");
  EXPECT_EQ(c->names().size(), 6u);
  EXPECT_THAT(rows_of(*c, "model.layers.0.mlp.gate_proj.weight"), ElementsAre(3, 4, 5));
  EXPECT_THAT(rows_of(*c, "model.layers.0.self_attn.k_proj.weight"), ElementsAre(4, 5, 12, 13));
  EXPECT_TRUE(c->config().has(kRulesKey));
}

TEST(RenamedCheckpoint, WhatIsWrongInAFileOfNamesIsNamed) {
  Folder folder;
  folder.write("config.json", std::string(kSpark) + "}");
  folder.write_tensors(around());
  const std::string q = R"("model.layers.{n}.self_attn.q_proj.{part}")";
  const std::pair<std::string, const char*> wrong[] = {
      {"[]", "expected an object"},
      {R"({"rules": []})", "\"rules\" is not known"},
      {R"({"tensors": {}})", "expected a list"},
      {R"({"tensors": [{"from": "a"}]})", "\"to\" is missing"},
      {R"({"tensors": [{"from": "a", "to": "model.nonsense.weight"}]})", "no such tensor"},
      {R"({"tensors": [{"from": "a.weight", "to": )" + q + "}]}", "same places"},
      {R"({"tensors": [{"from": "a.{n}.{part}", "to": [)" + q + "," + q + "]}]}",
       "\"rows\" is missing"},
      {R"({"tensors": [{"from": "a.{n}.{part}", "rows": "by_kv_group", "to": [)" + q + "," + q +
           "]}]}",
       "in this order"},
      {R"({"tensors": [{"from": "a.{x}", "to": null}]})", "the places are"},
      {R"({"config": 3})", "expected an object"},
      {std::string(1000, '['), "not valid JSON"}};
  for (const auto& [text, message] : wrong) {
    folder.write("quern_names.json", text);
    EXPECT_THAT(folder.error(), HasSubstr(message)) << text;
  }
  EXPECT_THAT(folder.error("/nowhere/names.json"), HasSubstr("/nowhere/names.json"));
}

TEST(RenamedCheckpoint, TwoTensorsForOnePlaceAreRefused) {
  Folder folder;
  folder.write("config.json", std::string(kSpark) + "}");
  auto tensors = around();
  tensors["lm_head.weight"] = {5, 8};
  folder.write_tensors(tensors);
  EXPECT_THAT(folder.error(), AllOf(HasSubstr("lm_head.weight"), HasSubstr("output_layer")));
}

}  // namespace
}  // namespace quern
