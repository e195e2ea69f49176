// SPDX-License-Identifier: Apache-2.0
#include "quantize/repair.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <random>

#include "base/error.h"
#include "base/error_of.h"
#include "base/file.h"
#include "quantize/proof.h"
#include "quantize/source_folder.h"
#include "weights/safetensors_writer.h"

namespace quern {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr int64_t kHidden = 4, kChannels = 6;

class Repair : public ::testing::Test {
 protected:
  Repair() : folder_(fs::temp_directory_path() / format("quern-repair-{}", ::getpid())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_ / "model");
  }
  ~Repair() override { fs::remove_all(folder_); }

  std::string path(std::string_view name) const { return folder_ / name; }

  // A model of one layer with these tensors of its MLP, f32, random, and one tensor of attention.
  void write_model(const std::vector<std::pair<std::string, Shape>>& mlp,
                   std::string_view config = R"({"model_type": "qwen2", "intermediate_size": 6})") {
    std::vector<SafetensorsEntry> entries{
        {"model.layers.0.self_attn.o_proj.weight", Stored::f32, {kHidden, kHidden}}};
    for (const auto& [part, shape] : mlp)
      entries.push_back({"model.layers.0.mlp." + part, Stored::f32, shape});
    FileWriter out(path("model/model.safetensors"));
    const std::string header = safetensors_header(entries, {});
    out.write(std::as_bytes(std::span(header)));
    std::mt19937 random(3);
    for (const SafetensorsEntry& e : entries)
      for (int64_t i = 0; i < e.shape.numel(); ++i) {
        const float value = std::uniform_real_distribution<float>(1, 2)(random);
        out.write(std::as_bytes(std::span(&value, 1)));
      }
    out.finish();
    write_file_whole(path("model/config.json"), config);
  }
  void write_dense() {
    write_model({{"down_proj.bias", {kHidden}},
                 {"down_proj.weight", {kHidden, kChannels}},
                 {"gate_proj.bias", {kChannels}},
                 {"gate_proj.weight", {kChannels, kHidden}},
                 {"up_proj.weight", {kChannels, kHidden}}});
  }

  RepairRequest request() const {
    RepairRequest r;
    r.model = path("model");
    r.out = path("out");
    r.degrees = {4};
    r.checks_logits = false;
    return r;
  }

  std::vector<float> values(std::string_view folder, std::string_view tensor) const {
    const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(path(folder));
    const std::span<const std::byte> bytes = checkpoint->bytes(tensor);
    std::vector<float> out(bytes.size() / 4);
    std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  }

  void expect_undone() const {
    undo_repair(path("out"), path("back"));
    for (const char* name : {"model.safetensors", "config.json"})
      EXPECT_EQ(read_file(path("back/") + name), read_file(path("model/") + name)) << name;
    EXPECT_FALSE(fs::exists(path("back/quern-repair.json")));
  }

  fs::path folder_;
};

TEST_F(Repair, PadsWeightsAndBiasesOfTheChannelsAlone) {
  write_dense();
  const Certificate c = repair(request());
  EXPECT_EQ(c.padded, 8);
  EXPECT_EQ(c.findings.at("tensors_identical"), "2");  // attention, and the bias of down_proj
  EXPECT_EQ(c.findings.at("added_weights_decoded_exactly_zero"), "24");
  EXPECT_EQ(c.findings.at("kept_weights_decoded_bit_identical"), "72");
  std::vector<float> bias = values("model", "model.layers.0.mlp.gate_proj.bias");
  bias.resize(8, 0.0f);
  EXPECT_EQ(values("out", "model.layers.0.mlp.gate_proj.bias"), bias);
  EXPECT_FALSE(fs::exists(path("out.part")));
  EXPECT_FALSE(fs::exists(path("out/.lock")));
  expect_undone();
}

TEST_F(Repair, EachHalfOfAFusedLayerGrows) {
  write_model({{"down_proj.weight", {kHidden, kChannels}},
               {"gate_up_proj.weight", {2 * kChannels, kHidden}}});
  RepairRequest r = request();
  r.is_interleaved = true;
  repair(r);
  // 6 channels in 4 parts of 2: [2][2][1, added][1, added], twice.
  const std::vector<float> before = values("model", "model.layers.0.mlp.gate_up_proj.weight"),
                           after = values("out", "model.layers.0.mlp.gate_up_proj.weight");
  const int from[] = {0, 1, 2, 3, 4, -1, 5, -1, 6, 7, 8, 9, 10, -1, 11, -1};
  ASSERT_EQ(after.size(), std::size(from) * kHidden);
  for (size_t i = 0; i < after.size(); ++i) {
    const int row = from[i / kHidden];
    EXPECT_EQ(after[i], row < 0 ? 0.0f : before[static_cast<size_t>(row) * kHidden + i % kHidden]);
  }
  expect_undone();
}

TEST_F(Repair, AConfigThatSaysItsSizeTwiceIsChangedTwice) {
  write_dense();
  write_file_whole(path("model/config.json"),
                   R"({"model_type":"qwen2_vl","intermediate_size":6,"x":1.0e-06,
                       "text_config":{"intermediate_size":6},"vision_config":{"intermediate_size":6}})");
  repair(request());
  const std::string config = read_file(path("out/config.json"));
  EXPECT_THAT(config, HasSubstr("\"intermediate_size\": 8,\n  \"x\""));
  EXPECT_THAT(config, HasSubstr("\"text_config\": {\n    \"intermediate_size\": 8\n"));
  EXPECT_THAT(config, HasSubstr("\"vision_config\": {\n    \"intermediate_size\": 6\n"));
  expect_undone();
}

TEST_F(Repair, AFolderOfLinksIsReadThroughThem) {
  write_dense();
  fs::create_directories(folder_ / "blobs");
  fs::rename(path("model/model.safetensors"), path("blobs/a1b2"));
  fs::create_symlink("../blobs/a1b2", path("model/model.safetensors"));
  repair(request());
  EXPECT_FALSE(fs::is_symlink(path("out/model.safetensors")));
  expect_undone();
}

TEST_F(Repair, TwoWorkersOnOneFolderAreOneTooMany) {
  write_dense();
  const Staging other(path("out"), "another");
  EXPECT_THAT(error_of([&] { repair(request()); }), HasSubstr("another process is making"));
  EXPECT_FALSE(fs::exists(path("out")));
}

TEST_F(Repair, OnlyFinishedFilesThatAreStillWhatTheyWereAreKept) {
  const std::string out = path("out");
  {
    Staging first(out, "key");
    for (const char* name : {"/a", "/b", "/unfinished"})
      write_file_whole(first.folder() + name, "words");
    first.set_finished("a");
    first.set_finished("b");
  }
  write_file_whole(out + ".part/b", "other");
  {
    const Staging second(out, "key");
    EXPECT_TRUE(second.is_finished("a"));
    EXPECT_FALSE(second.is_finished("b"));
    EXPECT_THAT(files_beneath(second.folder()), ::testing::ElementsAre("a"));
  }
  const Staging other(out, "other settings");
  EXPECT_THAT(files_beneath(other.folder()), ::testing::IsEmpty());
}

TEST_F(Repair, WhatCannotBeDoneIsRefusedWithoutAFolder) {
  write_dense();
  RepairRequest r = request();
  r.degrees = {3};
  EXPECT_THAT(error_of([&] { repair(r); }), HasSubstr("nothing to repair"));
  write_file_whole(path("model/config.json"), R"({"model_type":"qwen2","intermediate_size":7})");
  EXPECT_THAT(error_of([&] { repair(request()); }), HasSubstr("different checkpoints"));
  write_dense();
  repair(request());
  r = request();
  r.model = path("out");
  r.out = path("again");
  r.degrees = {16};
  EXPECT_THAT(error_of([&] { repair(r); }), HasSubstr("was repaired already"));
  EXPECT_FALSE(fs::exists(path("again")));
  EXPECT_THAT(error_of([&] { repair(request()); }), HasSubstr("exists already"));
}

// The words of a certificate that somebody changed are errors, never bytes out of bounds.
TEST_F(Repair, ACertificateIsHeldToTheTensors) {
  write_dense();
  repair(request());
  const std::string file = path("out/quern-repair.json"), good = read_file(file);
  const std::pair<std::string_view, std::string_view> changes[] = {
      {"\"axis\": 1", "\"axis\": 0"},
      {"\"halves\": 1", "\"halves\": 2"},
      {"\"entries\": 1", "\"entries\": 3"},
      {"\"channels\": 6", "\"channels\": 5"},
      {"\"config.json\": {", "\"../config.json\": {"},
      {"\"quern_repair\": 1", "\"quern_repair\": 2"},
  };
  for (const auto& [from, to] : changes) {
    std::string bad = good;
    const size_t at = bad.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    write_file_whole(file, bad.replace(at, from.size(), to));
    EXPECT_THROW(undo_repair(path("out"), path("back")), Error) << from;
    EXPECT_FALSE(fs::exists(path("back"))) << from;
  }
  write_file_whole(file, good);
  verify_repair(path("out"), path("model"), false);
  expect_undone();
}

// The proof reads weights, not words about them.
TEST_F(Repair, AnAddedChannelThatIsNotZeroFailsTheProof) {
  write_dense();
  Certificate c = repair(request());
  std::string bytes = read_file(path("out/model.safetensors"));
  bytes.back() = 0x3f;  // up_proj is last, and so are its added rows
  write_file_whole(path("out/model.safetensors"), bytes);
  const SourceFolder source(path("model"));
  EXPECT_THAT(error_of([&] { prove_tensors(source, *open_checkpoint(path("out")), c); }),
              HasSubstr("up_proj: [7, 3] decodes to 0.5, expected 0"));
}

}  // namespace
}  // namespace quern
