// SPDX-License-Identifier: Apache-2.0
#include "weights/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "weights/checkpoint.h"
#include "weights/weight_format.h"

namespace quern {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const std::string kGolden = std::string(QUERN_SOURCE_DIR) + "/tests/golden/";

std::string file_of(const std::string& header, size_t data_bytes, uint64_t length = UINT64_MAX) {
  if (length == UINT64_MAX) length = header.size();
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(length >> (8 * i) & 255);
  out += header;
  for (size_t i = 0; i < data_bytes; ++i) out += static_cast<char>(i);
  return out;
}

std::span<const std::byte> as_bytes(const std::string& s) {
  return std::as_bytes(std::span(s.data(), s.size()));
}

std::string error_of(const std::string& file) {
  try {
    parse_safetensors_header(as_bytes(file), "x.safetensors");
  } catch (const Error& e) {
    return format("{}: {}", name_of(e.code()), e.what());
  }
  return "no error";
}

class Folder {
 public:
  Folder()
      : path_(fs::temp_directory_path() /
              format("quern_weights_{}", reinterpret_cast<uintptr_t>(this))) {
    fs::create_directories(path_);
    write("config.json", "{}");
  }
  ~Folder() { fs::remove_all(path_); }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
  }
  std::string path() const { return path_.string(); }
  std::string error() const {
    try {
      open_checkpoint(path());
    } catch (const Error& e) {
      return format("{}: {}", name_of(e.code()), e.what());
    }
    return "no error";
  }

 private:
  fs::path path_;
};

const char* const kTwo =
    R"({"__metadata__":{"format":"pt"},"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]},
  "a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"e":{"dtype":"F16","shape":[0,5],"data_offsets":[8,8]}}   )";

TEST(Safetensors, ReadsAHeader) {
  const std::string file = file_of(kTwo, 11);
  const SafetensorsHeader header = parse_safetensors_header(as_bytes(file), "x");
  ASSERT_EQ(header.entries.size(), 3u);
  EXPECT_EQ(header.entries[0].name, "a");
  EXPECT_EQ(header.entries[0].shape, Shape({1, 2}));
  EXPECT_EQ(header.entries[2].begin, file.size() - 3);
  EXPECT_EQ(header.metadata.at(0).second, "pt");
}

TEST(Safetensors, RefusesBadFiles) {
  const auto one = [](const char* entry, size_t bytes = 8) {
    return error_of(file_of(format("{{\"t\":{}}}", entry), bytes));
  };
  EXPECT_THAT(error_of("1234"), HasSubstr("data_loss: x.safetensors: 4 bytes are too few"));
  EXPECT_THAT(error_of(file_of("{}", 0, uint64_t{1} << 62)), HasSubstr("the limit is 100000000"));
  EXPECT_THAT(
      error_of(file_of("{}", 0, 99)),
      HasSubstr("expected at least 107 bytes as its first bytes say, found 10: is the download"));
  EXPECT_THAT(error_of(file_of("{", 0)), HasSubstr("data_loss: x.safetensors: not valid JSON"));
  EXPECT_THAT(error_of(file_of("[]", 0)), HasSubstr("no JSON object"));
  EXPECT_THAT(error_of(file_of(std::string(10000, '['), 0)), HasSubstr("data_loss"));
  EXPECT_THAT(
      error_of(file_of(R"({"t":)" + std::string(10000, '[') + std::string(10000, ']') + "}", 0)),
      HasSubstr("data_loss"));
  EXPECT_THAT(error_of(file_of(R"({"__metadata__":{"a":1}})", 0)), HasSubstr("expected a string"));
  EXPECT_THAT(one("3"), HasSubstr("tensor t: expected an object"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[2]})"), HasSubstr("data_offsets is missing"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0]})"),
              HasSubstr("expected 2 numbers"));
  EXPECT_THAT(one(R"({"dtype":"F6_E2M3","shape":[2],"data_offsets":[0,8]})"),
              HasSubstr("unsupported: x.safetensors: tensor t"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})"),
              HasSubstr("whole numbers"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[2.5],"data_offsets":[0,8]})"),
              HasSubstr("whole numbers"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]})"),
              HasSubstr("2^48"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0]})"),
              HasSubstr("2^48"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[1,1,1,1,1,1,2],"data_offsets":[0,8]})"),
              HasSubstr("7 dimensions"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})"),
              HasSubstr("takes 12 bytes, data_offsets give it 8"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})"),
              HasSubstr("expected begin <= end <= 2^56"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})", 7),
              HasSubstr("data_loss: x.safetensors: expected 70 bytes as its header says, found 69: "
                        "is the download complete?"));
  EXPECT_THAT(
      one(R"({"dtype":"F32","shape":[2],"data_offsets":[9223372036854775800,9223372036854775808]})"),
      HasSubstr("expected begin <= end <= 2^56"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})", 9),
              HasSubstr("1 bytes after the last tensor"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})"),
              HasSubstr("leaves a gap"));
}

TEST(Safetensors, RefusesOverlapAndRepetition) {
  EXPECT_THAT(error_of(file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
      "b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                               8)),
              HasSubstr("tensor b: overlaps another at byte"));
  EXPECT_THAT(error_of(file_of(R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},
      "a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})",
                               8)),
              HasSubstr("repeats a tensor name"));
  EXPECT_EQ(error_of(file_of(R"({"a:\"b\\":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})", 8)),
            "no error");
}

TEST(Safetensors, OpensGoldenFolders) {
  const auto single = open_checkpoint(kGolden + "llama3");
  EXPECT_EQ(single->config().integer("hidden_size"), 128);
  EXPECT_EQ(single->info("model.embed_tokens.weight").shape, Shape({576, 128}));
  EXPECT_EQ(single->info("model.embed_tokens.weight").stored, Stored::f16);
  const auto sharded = open_checkpoint(kGolden + "qwen2_vl");
  EXPECT_EQ(sharded->total_bytes(), 1631744);  // as the index states
  EXPECT_TRUE(sharded->has("visual.merger.mlp.2.weight"));
  EXPECT_TRUE(sharded->has("model.norm.weight"));
  const Tensor norm = read_f32(*sharded, "model.norm.weight");
  EXPECT_EQ(norm.dtype(), DType::f32);
  EXPECT_EQ(norm.shape(), Shape({128}));
  const auto expected = open_checkpoint(kGolden + "llama3/expected.safetensors");
  EXPECT_GT(expected->names().size(), 0u);
}

TEST(Safetensors, OpensEveryModelAmongTheGoldens) {
  int opened = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(kGolden)) {
    const std::string folder = entry.path().string();
    if (!fs::exists(folder + "/model.safetensors") &&
        !fs::exists(folder + "/model.safetensors.index.json"))
      continue;
    const auto checkpoint = open_checkpoint(folder);
    EXPECT_GT(checkpoint->names().size(), 0u) << folder;
    EXPECT_GT(checkpoint->total_bytes(), 0) << folder;
    EXPECT_TRUE(checkpoint->config().has("model_type")) << folder;
    ++opened;
  }
  EXPECT_GE(opened, 16);
}

TEST(Safetensors, ATruncatedFileNamesBothSizes) {
  const Folder folder;
  std::ifstream in(kGolden + "qwen2_tied/model.safetensors", std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(in), {}};
  for (const size_t size : {whole.size() - 1, whole.size() / 2, size_t{100}}) {
    folder.write("model.safetensors", whole.substr(0, size));
    EXPECT_THAT(folder.error(),
                HasSubstr("data_loss: " + folder.path() + "/model.safetensors: expected"));
    EXPECT_THAT(folder.error(), HasSubstr(format("found {}", size)));
  }
}

TEST(Safetensors, NewPrefixesGetThePublishedNames) {
  const auto checkpoint = open_checkpoint(kGolden + "glm4v");
  EXPECT_TRUE(checkpoint->has("model.embed_tokens.weight"));
  EXPECT_EQ(checkpoint->info("visual.patch_embed.proj.weight").name,
            "visual.patch_embed.proj.weight");
  EXPECT_TRUE(checkpoint->has("model.language_model.norm.weight"));
  EXPECT_TRUE(checkpoint->has("model.visual.patch_embed.proj.weight"));
  EXPECT_TRUE(open_checkpoint(kGolden + "glmasr")->has("model.norm.weight"));
}

TEST(Safetensors, NamesNearMisses) {
  const auto checkpoint = open_checkpoint(kGolden + "llama3");
  try {
    checkpoint->bytes("model.layers.0.mlp.gate_projj.weight");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::not_found);
    EXPECT_THAT(e.what(), HasSubstr("model.layers.0.mlp.gate_proj.weight"));
  }
}

const char* const kOne = R"({"a.weight":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})";

TEST(Safetensors, ChecksTheIndexAgainstItsShards) {
  const Folder folder;
  folder.write("model-1.safetensors", file_of(kOne, 4));
  const auto index = [&](const char* map) {
    folder.write("model.safetensors.index.json", format("{{\"weight_map\":{}}}", map));
    return folder.error();
  };
  EXPECT_EQ(index(R"({"a.weight":"model-1.safetensors"})"), "no error");
  EXPECT_THAT(index(R"({"a.weight":"model-2.safetensors"})"), HasSubstr("not_found"));
  EXPECT_THAT(index(R"({"b":"model-1.safetensors"})"),
              HasSubstr("tensor b is not in model-1.safetensors nor in any shard"));
  EXPECT_THAT(index(R"({"a.weight":"../model-1.safetensors"})"),
              HasSubstr("expected the name of a .safetensors file"));
  EXPECT_THAT(index(R"({"a.weight":"/etc/x.safetensors"})"),
              HasSubstr("expected the name of a .safetensors file"));
  EXPECT_THAT(index(R"({"a.weight":"config.json"})"),
              HasSubstr("expected the name of a .safetensors file"));
  EXPECT_THAT(index(R"({"a.weight":3})"), HasSubstr("expected a file name"));
  EXPECT_THAT(index("{}"), HasSubstr("weight_map is empty"));
  EXPECT_THAT(index("[]"), HasSubstr("data_loss"));
  folder.write("model-2.safetensors",
               file_of(R"({"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4));
  EXPECT_THAT(index(R"({"a.weight":"model-2.safetensors","b":"model-1.safetensors"})"),
              HasSubstr("it is in model-1"));
  folder.write("model-2.safetensors", file_of(kOne, 4));
  EXPECT_THAT(index(R"({"a.weight":"model-1.safetensors","c":"model-2.safetensors"})"),
              HasSubstr("is also in"));
}

TEST(Safetensors, TellsFoldersApart) {
  const Folder folder;
  EXPECT_EQ(folder.error(), "no error");  // config alone: a checkpoint without weights
  EXPECT_THROW(open_checkpoint(folder.path())->bytes("a.weight"), Error);
  folder.write("pytorch_model.bin", "");
  EXPECT_THAT(folder.error(), HasSubstr("weights only as pytorch_model.bin"));
  folder.write("weights.safetensors", file_of(kOne, 4));
  EXPECT_EQ(folder.error(), "no error");
  folder.write("more.safetensors", file_of(kOne, 4));
  EXPECT_THAT(folder.error(), HasSubstr("2 safetensors files"));
  EXPECT_THROW(open_checkpoint(folder.path() + "/nothing"), Error);
  EXPECT_THROW(open_checkpoint(folder.path() + "/config.json"), Error);
}

TEST(PlainFormat, ReadsRanges) {
  const Folder folder;
  folder.write(
      "model.safetensors",
      file_of(R"({"p.weight":{"dtype":"F32","shape":[2,1,3],"data_offsets":[0,24]}} )", 24));
  const auto checkpoint = open_checkpoint(folder.path());
  const WeightFormat& plain = format_of(*checkpoint, "p");
  EXPECT_EQ(plain.name(), "plain");
  EXPECT_EQ(plain.shape(*checkpoint, "p"), Shape({2, 3}));
  const Tensor all = plain.read(*checkpoint, "p", {0, 2}, {0, 3}, Device::cpu()).codes;
  const Tensor part = plain.read(*checkpoint, "p", {1, 2}, {1, 3}, Device::cpu()).codes;
  EXPECT_EQ(part.shape(), Shape({1, 2}));
  EXPECT_EQ(part.data<float>()[0], all.data<float>()[4]);
  EXPECT_EQ(part.data<float>()[1], all.data<float>()[5]);
  EXPECT_EQ(plain.read(*checkpoint, "p", {0, 2}, {1, 3}, Device::meta()).codes.shape(),
            Shape({2, 2}));
}

TEST(Formats, UnknownOnesNameTheirTensors) {
  const auto checkpoint = shapes_only_checkpoint(Config::parse("{}", "config.json"),
                                                 {{"model.up.q_weight", Stored::i32, {8, 4}, {}},
                                                  {"model.up.q_scale", Stored::i32, {2, 4}, {}},
                                                  {"model.norm.weight", Stored::f32, {8}, {}}});
  const auto message = [&](const std::string& prefix) -> std::string {
    try {
      format_of(*checkpoint, prefix);
    } catch (const Error& e) {
      return format("{}: {}", name_of(e.code()), e.what());
    }
    return "no error";
  };
  EXPECT_THAT(message("model.up"),
              HasSubstr("unsupported: model.up: no known weight format (looks like EXL2): found "
                        "model.up.q_scale i32 [2, 4], model.up.q_weight i32 [8, 4]; this build "
                        "reads awq, gptq"));
  EXPECT_THAT(message("model.norm"), HasSubstr("not a matrix"));
  EXPECT_THAT(message("model.down"), HasSubstr("not_found"));
}

}  // namespace
}  // namespace quern
