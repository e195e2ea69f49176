// SPDX-License-Identifier: Apache-2.0
// GPTQ against the formula, packed the plain way; words worked out by hand; refusals.
#include <gmock/gmock.h>

#include <numeric>

#include "weights/formats/layer_checkpoint.h"

namespace quern {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// One layer, and what it is packed from.
struct Layer {
  int bits = 4;
  int64_t n = 32, k = 64, group = 32;
  bool symmetric = false, version_2 = false;
  std::string extra;                 // further keys of quantization_config
  std::vector<int> codes, zeros;     // [n, k], [groups, n]
  std::vector<float> scales;         // [groups, n]
  std::vector<int32_t> g_idx;        // [k]
  std::vector<uint32_t> taken = {};  // from each word of zero points, version 1

  int64_t groups() const { return (k + group - 1) / group; }

  void fill() {
    Numbers numbers;
    codes = numbers.list(n * k, 1 << bits);
    zeros = numbers.list(groups() * n, 1 << bits);
    for (int64_t i = 0; i < groups() * n; ++i)
      scales.push_back(static_cast<float>(numbers.next(64) - 20) / 256);
    for (int64_t i = 0; i < k; ++i) g_idx.push_back(static_cast<int32_t>(i / group));
    taken = bits == 2   ? std::vector<uint32_t>{0x55555555}
            : bits == 3 ? std::vector<uint32_t>{0x49249249, 0x92492492, 0x24924924}
            : bits == 4 ? std::vector<uint32_t>{0x11111111}
                        : std::vector<uint32_t>{0x01010101};
  }

  void scatter() {
    Numbers numbers;
    for (size_t i = g_idx.size(); i > 1; --i)
      std::swap(g_idx[i - 1], g_idx[static_cast<size_t>(numbers.next(static_cast<int>(i)))]);
  }

  std::string config() const {
    return format(R"({{"quant_method": "gptq", "bits": {}, "group_size": {}, "sym": {},
                      "checkpoint_format": "{}"{}}})",
                  bits,
                  group,
                  symmetric,
                  version_2 ? "gptq_v2" : "gptq",
                  extra);
  }

  // Row r of a table of words lies down column r.
  LayerCheckpoint checkpoint(const std::string& config) const {
    LayerCheckpoint out(config);
    const int64_t words = k * bits / 32, width = n * bits / 32;
    std::vector<uint32_t> qweight(static_cast<size_t>(words * n)), qzeros;
    for (int64_t r = 0; r < n; ++r) {
      const auto column = packed({codes.begin() + r * k, codes.begin() + (r + 1) * k}, bits);
      for (int64_t w = 0; w < words; ++w)
        qweight[static_cast<size_t>(w * n + r)] = column[static_cast<size_t>(w)];
    }
    for (int64_t g = 0; g < groups(); ++g) {
      auto row = packed({zeros.begin() + g * n, zeros.begin() + (g + 1) * n}, bits);
      for (size_t i = 0; i < row.size(); ++i)
        qzeros.push_back(row[i] - (version_2 ? 0 : taken[i % taken.size()]));
    }
    out.add("p.qweight", Stored::i32, {words, n}, qweight);
    out.add("p.qzeros", Stored::i32, {groups(), width}, qzeros);
    out.add_f16("p.scales", {groups(), n}, scales);
    out.add("p.g_idx", Stored::i32, {k}, g_idx);
    return out;
  }
  LayerCheckpoint checkpoint() const { return checkpoint(config()); }

  float weight(int64_t r, int64_t c) const {
    const auto at = static_cast<size_t>(g_idx[static_cast<size_t>(c)] * n + r);
    const int zero = symmetric ? 1 << (bits - 1) : zeros[at];
    return f16_to_float(float_to_f16(scales[at])) *
           static_cast<float>(codes[static_cast<size_t>(r * k + c)] - zero);
  }

  void expect_equal(const LayerCheckpoint& checkpoint) const {
    const Tensor got = dequantize(checkpoint.read());
    ASSERT_EQ(got.shape(), Shape({n, k}));
    for (int64_t r = 0; r < n; ++r)
      for (int64_t c = 0; c < k; ++c)
        ASSERT_EQ(got.data<float>()[r * k + c], weight(r, c)) << r << ", " << c;
  }
};

struct Kind {
  int bits;
  bool symmetric, version_2, scattered;
};

class Gptq : public testing::TestWithParam<Kind> {
 protected:
  Gptq() {
    layer_.bits = GetParam().bits;
    layer_.symmetric = GetParam().symmetric;
    layer_.version_2 = GetParam().version_2;
    layer_.k = 160;
    layer_.n = 64;
    layer_.fill();
    if (GetParam().scattered) layer_.scatter();
  }
  Layer layer_;
};

TEST_P(Gptq, FollowsTheFormula) {
  const LayerCheckpoint checkpoint = layer_.checkpoint();
  EXPECT_EQ(checkpoint.format().name(), "gptq");
  layer_.expect_equal(checkpoint);
  EXPECT_EQ(checkpoint.read().column_order.empty(), !GetParam().scattered);
  EXPECT_EQ(checkpoint.read().scales.dtype(), DType::f16);
}

TEST_P(Gptq, PartsEqualTheWhole) {
  const LayerCheckpoint checkpoint = layer_.checkpoint();
  EXPECT_EQ(checkpoint.format().granule(checkpoint, "p").cols,
            GetParam().scattered ? layer_.k : layer_.group);
  expect_parts_equal_whole(checkpoint);
}

std::vector<Kind> kinds() {
  std::vector<Kind> out;
  for (const int bits : {2, 3, 4, 8})
    for (const bool symmetric : {false, true})
      for (const bool version_2 : {false, true})
        for (const bool scattered : {false, true})
          out.push_back({bits, symmetric, version_2, scattered});
  return out;
}

INSTANTIATE_TEST_SUITE_P(Kinds, Gptq, testing::ValuesIn(kinds()), [](const auto& info) {
  return format("int{}_{}_v{}_{}",
                info.param.bits,
                info.param.symmetric ? "symmetric" : "asymmetric",
                info.param.version_2 ? 2 : 1,
                info.param.scattered ? "scattered" : "in_order");
});

Layer small() {
  Layer layer;
  layer.fill();
  return layer;
}

TEST(GptqLayer, OneGroupIsCutAnywhere) {
  Layer layer;
  layer.group = 64;
  layer.fill();
  const LayerCheckpoint checkpoint = layer.checkpoint(
      R"({"quant_method": "gptq", "bits": 4, "group_size": -1, "sym": false, "desc_act": true})");
  EXPECT_EQ(checkpoint.format().granule(checkpoint, "p").cols, 8);
  EXPECT_EQ(checkpoint.read().block_cols, 0);
  layer.expect_equal(checkpoint);
  expect_parts_equal_whole(checkpoint);
}

TEST(GptqLayer, TheLastGroupMayBeShort) {
  Layer layer;
  layer.k = 80;
  layer.fill();
  layer.expect_equal(layer.checkpoint());
  layer.scatter();
  layer.expect_equal(layer.checkpoint());
}

TEST(GptqLayer, WithoutOrderOrWithZerosItIsInOrder) {
  const Layer layer = small();
  LayerCheckpoint checkpoint = layer.checkpoint();
  checkpoint.remove("p.g_idx");
  layer.expect_equal(checkpoint);
  checkpoint.add("p.g_idx", Stored::i32, {64}, std::vector<int32_t>(64, 0));
  layer.expect_equal(checkpoint);
}

TEST(GptqLayer, WithoutAConfigTheShapesTell) {
  const Layer layer = small();
  layer.expect_equal(layer.checkpoint(""));
}

TEST(GptqLayer, SymmetricFilesNeedNoZeroPoints) {
  Layer layer = small();
  layer.symmetric = true;
  LayerCheckpoint checkpoint = layer.checkpoint();
  checkpoint.remove("p.qzeros");
  layer.expect_equal(checkpoint);
  EXPECT_EQ(checkpoint.read().codes.dtype(), DType::i8);
  EXPECT_FALSE(checkpoint.read().zeros.defined());
}

// The words of the facts: codes along K, the borrow across nibbles, three bits across words.
TEST(GptqLayer, ReadsTheWorkedWords) {
  LayerCheckpoint four(R"({"quant_method": "gptq", "bits": 4, "group_size": -1, "sym": false})");
  four.add("p.qweight", Stored::i32, {1, 8}, std::vector<uint32_t>(8, 0x5C780F3A));
  four.add("p.qzeros", Stored::i32, {1, 1}, std::vector<uint32_t>{0x7777776F});
  four.add_f16("p.scales", {1, 8}, std::vector<float>(8, 1));
  const QuantMatrix w = four.read();
  const std::vector<uint8_t> codes = {10, 3, 15, 0, 8, 7, 12, 5};
  EXPECT_TRUE(std::equal(codes.begin(), codes.end(), w.codes.data<uint8_t>()));
  const std::vector<uint8_t> zeros = {0, 8, 8, 8, 8, 8, 8, 8};
  EXPECT_TRUE(std::equal(zeros.begin(), zeros.end(), w.zeros.data<uint8_t>()));

  LayerCheckpoint eight(R"({"quant_method": "gptq", "bits": 8, "group_size": -1, "sym": true})");
  eight.add("p.qweight", Stored::i32, {1, 4}, std::vector<uint32_t>(4, 0x7FFF8010));
  eight.add("p.qzeros", Stored::i32, {1, 4}, std::vector<uint32_t>(4, 0x7F7F7F7F));
  eight.remove("p.qzeros");
  eight.add_f16("p.scales", {1, 4}, std::vector<float>(4, 1));
  const std::vector<int8_t> bytes = {-112, 0, 127, -1};
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), eight.read().codes.data<int8_t>()));

  LayerCheckpoint three(R"({"quant_method": "gptq", "bits": 3, "group_size": -1, "sym": true})");
  std::vector<uint32_t> words;
  for (const uint32_t word : {0x88FAC688u, 0xC688FAC6u, 0xFAC688FAu})
    words.insert(words.end(), 32, word);
  three.add("p.qweight", Stored::i32, {3, 32}, words);
  three.add_f16("p.scales", {1, 32}, std::vector<float>(32, 1));
  const QuantMatrix ramp = three.read();
  for (int i = 0; i < 32; ++i) EXPECT_EQ(ramp.codes.data<int8_t>()[i], i % 8 - 4);

  LayerCheckpoint two(R"({"quant_method": "gptq", "bits": 2, "group_size": -1, "sym": true})");
  two.add("p.qweight", Stored::i32, {1, 16}, std::vector<uint32_t>(16, 0xE4E4E4E4));
  two.add_f16("p.scales", {1, 16}, std::vector<float>(16, 1));
  for (int i = 0; i < 16; ++i) EXPECT_EQ(two.read().codes.data<int8_t>()[i], i % 4 - 2);
}

// GPTQModel takes other numbers from the words of 3-bit zero points, and adds them back.
TEST(GptqLayer, ThreeBitsByGptqModel) {
  Layer layer;
  layer.bits = 3;
  layer.fill();
  layer.taken = {0x24924924, 0x92492492, 0x49249249};
  layer.extra = R"(, "meta": {"quantizer": ["gptqmodel:7.7.0"]})";
  layer.expect_equal(layer.checkpoint());
}

TEST(GptqLayer, DynamicOverridesApply) {
  Layer layer = small();
  layer.extra = R"(, "dynamic": {"+:p": {"sym": true}})";
  const LayerCheckpoint checkpoint = layer.checkpoint();
  layer.symmetric = true;
  layer.expect_equal(checkpoint);
}

TEST(GptqLayer, TheFileWinsOverExclusion) {
  Layer layer = small();
  layer.extra = R"(, "dynamic": {"-:p": {}})";
  const LayerCheckpoint checkpoint = layer.checkpoint();
  testing::internal::CaptureStderr();
  layer.expect_equal(checkpoint);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, HasSubstr("module=p"));
  EXPECT_THAT(said, HasSubstr("excluded by quantization_config"));
}

TEST(GptqLayer, FloodedZeroPointsAreNamed) {
  LayerCheckpoint checkpoint = small().checkpoint();
  checkpoint.add("p.qzeros", Stored::i32, {2, 4}, std::vector<uint32_t>(8, 0xFFFFFFFF));
  testing::internal::CaptureStderr();
  (void)checkpoint.read();
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("tensor=p.qzeros"), HasSubstr("flooded_words=8")));
}

TEST(GptqLayer, AutoRoundIsGptq) {
  const Layer layer = small();
  layer.expect_equal(layer.checkpoint(
      R"({"quant_method": "intel/auto-round", "packing_format": "auto_round:auto_gptq", "bits": 4,
          "group_size": 32, "sym": false, "data_type": "int"})"));
}

TEST(GptqLayer, RefusesLayoutsOfOneKernel) {
  const Layer layer = small();
  for (const char* config : {R"({"quant_method": "gptq", "bits": 4, "is_marlin_format": true})",
                             R"({"quant_method": "gptq", "checkpoint_format": "marlin"})",
                             R"({"quant_method": "gptq", "checkpoint_format": "bitblas"})",
                             R"({"quant_method": "gptq", "checkpoint_format": "gptq_p"})",
                             R"({"quant_method": "gptq", "checkpoint_format": "exllamav2"})",
                             R"({"quant_method": "gptq", "checkpoint_format": "new"})",
                             R"({"quant_method": "gptq", "pack_dtype": "int16"})"})
    EXPECT_THAT(layer.checkpoint(config).read_error(),
                AllOf(HasSubstr("unsupported: p: config.json"), HasSubstr("this build reads")))
        << config;
}

TEST(GptqLayer, RefusesOddWidths) {
  LayerCheckpoint five(R"({"quant_method": "gptq", "bits": 5, "group_size": 32, "sym": true})");
  five.add("p.qweight", Stored::i32, {10, 32}, std::vector<uint32_t>(320, 0));
  five.add("p.qzeros", Stored::i32, {2, 5}, std::vector<uint32_t>(10, 0));
  five.add_f16("p.scales", {2, 32}, std::vector<float>(64, 1));
  EXPECT_THAT(five.read_error(), HasSubstr("unsupported: p: codes of 5 bits"));
  five.remove("p.qzeros");
  EXPECT_THAT(five.read_error(), HasSubstr("unsupported: p: codes of 5 bits"));
}

TEST(GptqLayer, NamesWhatContradictsTheConfig) {
  const Layer layer = small();
  EXPECT_THAT(
      layer.checkpoint(R"({"quant_method": "gptq", "bits": 8, "group_size": 32})").read_error(),
      HasSubstr("data_loss: p: expected codes of 8 bits by quantization_config, got 4"));
  EXPECT_THAT(
      layer.checkpoint(R"({"quant_method": "gptq", "bits": 4, "group_size": 16})").read_error(),
      HasSubstr("data_loss: p.scales: expected 4 groups by group_size 16 over K = 64, got 2"));
}

TEST(GptqLayer, RefusesMissingTensors) {
  for (const char* name : {"p.scales", "p.qzeros"}) {
    LayerCheckpoint checkpoint = small().checkpoint();
    checkpoint.remove(name);
    EXPECT_THAT(checkpoint.read_error(), HasSubstr(format("data_loss: {}: expected beside", name)));
  }
}

TEST(GptqLayer, RefusesWrongShapesAndTypes) {
  LayerCheckpoint checkpoint = small().checkpoint();
  checkpoint.add("p.g_idx", Stored::i32, {63}, std::vector<int32_t>(63, 0));
  EXPECT_THAT(checkpoint.read_error(), HasSubstr("data_loss: p.g_idx: expected [64]"));
  checkpoint.add_f16("p.scales", {64}, std::vector<float>(64, 1));
  EXPECT_THAT(checkpoint.read_error(), HasSubstr("data_loss: p.scales: expected f16"));
}

TEST(GptqLayer, RefusesGroupsOutOfRange) {
  for (const int32_t group : {-1, 2, INT32_MIN, INT32_MAX}) {
    Layer layer = small();
    layer.g_idx[5] = group;
    EXPECT_THAT(layer.checkpoint().read_error(),
                HasSubstr(format("data_loss: p.g_idx: expected groups 0..1, got {} at 5", group)));
  }
}

TEST(GptqLayer, RefusesGroupsOfUnequalSizes) {
  Layer layer = small();
  layer.g_idx[40] = 0;
  EXPECT_THAT(layer.checkpoint().read_error(),
              HasSubstr("unsupported: p.g_idx: expected 32 inputs in group 0, got 33"));
}

TEST(GptqLayer, RefusesScalesThatAreNoNumbers) {
  for (const uint8_t high : {0x7c, 0x7e, 0xfc}) {
    LayerCheckpoint checkpoint = small().checkpoint();
    checkpoint.set_byte("p.scales", 2 * 33 + 1, high);
    EXPECT_THAT(checkpoint.read_error(),
                AllOf(HasSubstr("data_loss: p.scales: expected finite"), HasSubstr("[1, 1]")));
  }
}

}  // namespace
}  // namespace quern
