// SPDX-License-Identifier: Apache-2.0
// Files of all ages are one model: the golden checkpoint, written as the first upload and the one
// after it had it, gives the same logits; and what silence behind a sound is worth.
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "models/golden_case.h"
#include "weights/safetensors_writer.h"
#include "weights/stored.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

// The audio tower's names inside of its layers, as Whisper has them.
std::string whisper_name(std::string name) {
  static constexpr std::pair<const char*, const char*> kParts[] = {
      {"self_attn.o_proj", "self_attn.out_proj"},
      {"input_layernorm", "self_attn_layer_norm"},
      {"post_attention_layernorm", "final_layer_norm"},
      {"mlp.fc", "fc"}};
  for (const auto& [newer, older] : kParts)
    if (const size_t at = name.find(newer); at != std::string::npos)
      name.replace(at, std::string_view(newer).size(), older);
  return name;
}

std::string with_prefix(const std::string& name, std::string_view from, std::string_view to) {
  return name.starts_with(from) ? std::string(to) + name.substr(from.size()) : name;
}

std::string first_name(const std::string& name) {
  if (name == "audio_tower.norm.weight" || name == "audio_tower.norm.bias")
    return with_prefix(name, "audio_tower.norm", "audio_encoder.layer_norm");
  if (name.starts_with("audio_tower."))
    return with_prefix(whisper_name(name), "audio_tower", "audio_encoder.whisper");
  return with_prefix(
      with_prefix(name, "multi_modal_projector.linear_1", "audio_encoder.adapting.0"),
      "multi_modal_projector.linear_2",
      "audio_encoder.adapting.2");
}

std::string second_name(const std::string& name) {
  if (!name.starts_with("audio_tower.")) return name;
  return with_prefix(whisper_name(name), "audio_tower.norm", "audio_tower.layer_norm");
}

// Row r of a head of an older file is this row of today's: neighbours 2j and 2j + 1 come from j and
// j + R/2.
int64_t row_today(int64_t r, int64_t rotary) {
  return r < rotary ? r / 2 + r % 2 * (rotary / 2) : r;
}

struct Age {
  std::function<std::string(const std::string&)> name;
  Json config;
};

// Writes the golden checkpoint of `case_name` as files of that age are.
fs::path write_older(const std::string& case_name, const Age& age, const std::string& folder) {
  const auto file = open_checkpoint(kGoldenFolder + case_name);
  const Config audio = file->config().sub("audio_config");
  const int64_t size = audio.integer("head_dim"), rotary = size / 2;
  std::vector<SafetensorsEntry> entries;
  std::string data;
  for (const std::string& name : file->names()) {
    const TensorInfo& info = file->info(name);
    const auto bytes = file->bytes(name);
    std::string out(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (name.starts_with("audio_tower.") &&
        (name.find("q_proj") != std::string::npos || name.find("k_proj") != std::string::npos)) {
      const size_t row = bytes.size() / static_cast<size_t>(info.shape[0]);
      for (int64_t r = 0; r < info.shape[0]; ++r) {
        const int64_t from = r / size * size + row_today(r % size, rotary);
        std::memcpy(out.data() + static_cast<size_t>(r) * row,
                    bytes.data() + static_cast<size_t>(from) * row,
                    row);
      }
    }
    SafetensorsEntry entry;
    entry.name = age.name(name);
    entry.stored = info.stored;
    entry.shape = info.shape;
    entries.push_back(std::move(entry));
    data += out;
  }
  const fs::path path = fs::path(testing::TempDir()) / folder;
  fs::create_directories(path);
  write_file_whole((path / "config.json").string(), age.config.dump());
  write_file_whole((path / "model.safetensors").string(), safetensors_header(entries, {}) + data);
  return path;
}

Json golden_config(const std::string& case_name) {
  return read_json_file(kGoldenFolder + case_name + "/config.json");
}

// As configuration_glmasr.py beside the first upload reads it.
Json first_config(const std::string& case_name) {
  const Json now = golden_config(case_name);
  const Json& audio = now["audio_config"];
  return {{"model_type", "Glmasr"},
          {"architectures", {"GlmasrModel"}},
          {"adapter_type", "mlp"},
          {"merge_factor", 4},
          {"use_rope", true},
          {"mlp_adapter_act", "gelu"},
          {"tie_word_embeddings", now["tie_word_embeddings"]},
          {"audio_token_id", now["audio_token_id"]},
          {"lm_config", now["text_config"]},
          {"whisper_config",
           {{"d_model", audio["hidden_size"]},
            {"encoder_layers", audio["num_hidden_layers"]},
            {"encoder_attention_heads", audio["num_attention_heads"]},
            {"encoder_ffn_dim", audio["intermediate_size"]},
            {"max_source_positions", 1500},
            {"activation_function", "gelu"},
            {"num_mel_bins", audio["num_mel_bins"]}}}};
}

Tensor logits_of(ModelGolden& c, const Model& model, const std::string& name) {
  GoldenPrompt prompt(c, name);
  const std::vector<MediaInput> windows = stored_windows(c, name);
  EXPECT_EQ(prompt.media.size(), 1u);
  std::vector<Tensor> rows;
  int64_t at = prompt.media[0].first_row;
  prompt.media.clear();
  for (const MediaInput& one : windows) {
    rows.push_back(model.encode(c.ctx(), one));
    prompt.media.push_back({static_cast<int32_t>(at), rows.back()});
    at += rows.back().dim(0);
  }
  SequenceRunner runner(model, c.ctx(), static_cast<int64_t>(prompt.ids.size()));
  return runner.prefill(prompt.input(), prompt.sample_rows);
}

TEST(GlmAsr, FilesOfAllAgesAreOneModel) {
  for (const std::string name : {"glmasr", "glmasr_chunked"}) {
    ModelGolden c(name, probe_topology().isa);
    const Age ages[] = {{first_name, first_config(name)}, {second_name, golden_config(name)}};
    for (const Age& age : ages) {
      const fs::path folder = write_older(name, age, "quern_glmasr_older");
      const std::shared_ptr<const Checkpoint> file = open_checkpoint(folder.string());
      EXPECT_EQ(file->config().string("model_type"), "glmasr");
      const auto model = make_model(Builder(file, c.ctx()));
      EXPECT_TRUE(c.is_close(logits_of(c, *model, "audio"), c.floats("audio.logits")))
          << name << ", " << age.config["model_type"];
      fs::remove_all(folder);
    }
  }
}

TEST(GlmAsr, WhatNoFileOfThatAgeHasIsRefused) {
  Json config = first_config("glmasr");
  config["use_rope"] = false;
  const fs::path folder = write_older("glmasr", {first_name, config}, "quern_glmasr_other");
  EXPECT_THROW(open_checkpoint(folder.string()), Error);
  fs::remove_all(folder);
}

// A token's row depends on the whole window, the silence too; how many rows are kept does not
// change those that are.
TEST(GlmAsr, RowsBehindTheSoundAreLeftOut) {
  ModelGolden c("glmasr_chunked", probe_topology().isa);
  MediaInput window = stored_windows(c, "audio").back();
  const Tensor rows = c.model().encode(c.ctx(), window);
  EXPECT_EQ(rows.dim(0), window.tokens);
  window.tokens -= 3;
  const Tensor fewer = c.model().encode(c.ctx(), window);
  EXPECT_TRUE(
      std::ranges::equal(fewer.span<float>(), rows.slice(0, 0, window.tokens).span<float>()));
  window.tokens = 26;  // of 25
  EXPECT_THROW(c.model().encode(c.ctx(), window), Error);
  MediaInput picture;
  EXPECT_THROW(c.model().encode(c.ctx(), picture), Error);
}

}  // namespace
}  // namespace quern
