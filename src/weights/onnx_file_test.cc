// SPDX-License-Identifier: Apache-2.0
#include "weights/onnx_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error_of.h"
#include "weights/onnx_bytes.h"

namespace quern {
namespace {

using namespace onnx_bytes;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

std::string raw(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}
std::string dims(const std::vector<uint64_t>& sizes) {
  std::string out;
  for (const uint64_t size : sizes) out += number(1, size);
  return out;
}
// An initializer of a graph.
std::string tensor(const std::string& name, uint64_t type, const std::string& rest) {
  return message(5, number(2, type) + message(8, name) + rest);
}
std::string model(const std::string& graph) {
  return number(1, 8) + message(2, "a tool") + message(7, graph) + message(8, number(2, 17));
}

class OnnxFileTest : public testing::Test {
 protected:
  ~OnnxFileTest() override { std::filesystem::remove(path_); }
  OnnxFile open(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary) << bytes;
    return OnnxFile(path_);
  }
  std::string error(const std::string& graph) const {
    return error_of([&] { open(model(graph)); });
  }
  static std::vector<float> values(const Checkpoint& checkpoint, const std::string& name) {
    const Tensor t = read_f32(checkpoint, name);
    return {t.data<float>(), t.data<float>() + t.numel()};
  }

  std::string path_ = testing::TempDir() + "quern_onnx_file.onnx";
};

TEST_F(OnnxFileTest, ElementsInAllTheirPlaces) {
  const OnnxFile f = open(model(
      tensor("raw", 1, dims({2, 2}) + message(9, raw({1, 2, 3, 4}))) +
      tensor("packed", 1, message(1, varint(3)) + message(4, raw({5, 6, 7}))) +
      tensor("single", 1, dims({2}) + float32(4, 8) + float32(4, 9)) +
      tensor("longs", 7, dims({3}) + message(7, varint(1) + varint(UINT64_MAX) + varint(300))) +
      tensor("scalar", 7, number(7, 5)) + tensor("none", 1, dims({0, 3})) +
      tensor("half", 10, dims({2}) + message(5, varint(0x3c00) + varint(0xc000))) +
      tensor("bytes", 3, dims({2}) + message(5, varint(1) + varint(UINT64_MAX)))));
  EXPECT_EQ(f.names().size(), 8u);
  EXPECT_EQ(f.info("raw").shape, (Shape{2, 2}));
  EXPECT_THAT(values(f, "raw"), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(values(f, "packed"), ElementsAre(5, 6, 7));
  EXPECT_THAT(values(f, "single"), ElementsAre(8, 9));
  const Tensor longs = read_tensor(f, "longs");
  EXPECT_EQ(longs.data<int64_t>()[1], -1);
  EXPECT_EQ(longs.data<int64_t>()[2], 300);
  EXPECT_EQ(f.info("scalar").shape.rank(), 0);
  EXPECT_EQ(f.bytes("none").size(), 0u);
  EXPECT_THAT(values(f, "half"), ElementsAre(1, -2));
  EXPECT_EQ(f.info("half").stored, Stored::f16);
  EXPECT_EQ(f.bytes("bytes")[1], std::byte{0xff});
  EXPECT_EQ(f.total_bytes(), 16 + 12 + 8 + 24 + 8 + 0 + 4 + 2);
  EXPECT_THAT(open_checkpoint(path_)->names(), testing::Contains("packed"));
}

TEST_F(OnnxFileTest, NodesInOrderWithTheirAttributes) {
  const std::string pads = message(1, "pads") + message(8, varint(1) + varint(2)) + number(20, 7);
  const std::string group = message(1, "group") + number(3, 4) + number(20, 2);
  const std::string alpha = message(1, "alpha") + float32(2, 0.5f) + number(20, 1);
  const OnnxFile f = open(model(
      message(1,
              message(1, "x") + message(1, "w") + message(1, "") + message(2, "y") +
                  message(3, "/a/Conv") + message(4, "Conv") + message(5, pads) +
                  message(5, group)) +
      message(1, message(1, "y") + message(2, "z") + message(4, "LeakyRelu") + message(5, alpha))));
  ASSERT_EQ(f.nodes().size(), 2u);
  EXPECT_EQ(f.nodes()[0].op, "Conv");
  EXPECT_EQ(f.nodes()[0].name, "/a/Conv");
  EXPECT_THAT(f.nodes()[0].inputs, ElementsAre("x", "w", ""));
  EXPECT_THAT(f.nodes()[0].outputs, ElementsAre("y"));
  EXPECT_THAT(f.nodes()[0].integers, ElementsAre(Pair("pads", ElementsAre(1, 2))));
  EXPECT_THAT(f.nodes()[0].numbers, ElementsAre(Pair("group", 4)));
  EXPECT_THAT(f.nodes()[1].numbers, ElementsAre(Pair("alpha", 0.5)));
  EXPECT_EQ(f.nodes()[1].name, "");
}

TEST_F(OnnxFileTest, WhatContradictsItselfIsRefused) {
  EXPECT_THAT(
      error(tensor("w", 1, dims({3}) + message(9, raw({1, 2})))),
      HasSubstr("data_loss: " + path_ + ": initializer: w: f32 [3] takes 12 bytes, found 8"));
  EXPECT_THAT(error(tensor("w", 1, dims({3}))), HasSubstr("found 0"));
  EXPECT_THAT(error(tensor("w", 1, dims({uint64_t{1} << 40, uint64_t{1} << 40}))),
              HasSubstr("data_loss"));
  EXPECT_THAT(error(tensor("w", 8, dims({1}))), HasSubstr("unsupported"));
  EXPECT_THAT(error(tensor("w", 7, dims({1}) + message(4, raw({1, 2})))), HasSubstr("in field 4"));
  EXPECT_THAT(error(tensor("w", 10, dims({1}) + message(5, varint(70000)))),
              HasSubstr("is no f16"));
  EXPECT_THAT(error(tensor("w", 1, dims({1}) + number(4, 1))), HasSubstr("of another kind"));
  EXPECT_THAT(error(tensor("w", 1, dims({1, 1, 1, 1, 1, 1, 1, 1, 1}))), HasSubstr("unsupported"));
  const std::string sound = tensor("w", 1, dims({1}) + message(9, raw({1})));
  EXPECT_EQ(error(sound), "nothing was thrown");
  EXPECT_THAT(error(sound + sound), HasSubstr("stored twice"));
  EXPECT_THAT(error(message(15, "x")), HasSubstr("sparse"));
  EXPECT_THAT(error_of([&] { open(message(7, sound) + message(7, sound)); }),
              HasSubstr("two graphs"));
  EXPECT_THAT(error_of([&] { open(""); }), HasSubstr("no graph"));
  EXPECT_THAT(error_of([&] { open("\x80\x02 a pickle"); }), HasSubstr("data_loss"));
}

TEST_F(OnnxFileTest, WeightsInAnotherFileAreRefused) {
  const std::string location = message(13, message(1, "location") + message(2, "/etc/passwd"));
  EXPECT_THAT(
      error(tensor("w", 1, dims({1}) + location + number(14, 1))),
      HasSubstr("unsupported: " + path_ + ": initializer: w: its weights lie in another file"));
  EXPECT_THAT(error(tensor("w", 1, dims({1}) + number(14, 1))), HasSubstr("in another file"));
}

TEST_F(OnnxFileTest, EveryTruncationIsRefused) {
  const std::string whole = message(
      7, tensor("w", 1, dims({2}) + message(9, raw({1, 2}))) + message(1, message(4, "Conv")));
  EXPECT_EQ(error_of([&] { open(whole); }), "nothing was thrown");
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_THAT(error_of([&] { open(whole.substr(0, size)); }), HasSubstr("data_loss")) << size;
}

TEST_F(OnnxFileTest, PartsAreCounted) {
  std::string graph;
  for (int i = 0; i < 5'000'000; ++i) graph.append("\x0a\x00", 2);
  EXPECT_THAT(error(graph), HasSubstr("more than 4194304 parts"));
}

// A graph that torch exported, with batch norms folded into its convolutions.
TEST(OnnxFileGolden, ConvolutionsNameTheirInitializers) {
  const OnnxFile f(std::string(QUERN_SOURCE_DIR) + "/tests/golden/glm_tts_speaker/campplus.onnx");
  size_t convolutions = 0;
  for (const OnnxNode& node : f.nodes()) {
    if (node.op != "Conv") continue;
    ++convolutions;
    ASSERT_GE(node.inputs.size(), 2u) << node.name;
    const TensorInfo& weight = f.info(node.inputs[1]);
    EXPECT_EQ(weight.stored, Stored::f32);
    EXPECT_EQ(node.integers.at("kernel_shape").size(),
              static_cast<size_t>(weight.shape.rank() - 2));
    EXPECT_EQ(node.integers.at("kernel_shape").back(), weight.shape[-1]);
  }
  EXPECT_GT(convolutions, 10u);
  EXPECT_EQ(f.nodes()[0].name.substr(0, 1), "/");
}

}  // namespace
}  // namespace quern
