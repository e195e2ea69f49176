// SPDX-License-Identifier: Apache-2.0
// AWQ in its three versions against the formula, packed the plain way; words worked out by hand;
// refusals.
#include <gmock/gmock.h>

#include "weights/formats/layer_checkpoint.h"

namespace quern {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

struct Layer {
  int64_t n = 64, k = 256, group = 64;
  bool symmetric = false;
  std::vector<int> codes, zeros;  // [n, k], [n, groups]
  std::vector<float> scales;      // [n, groups]

  Layer() { fill(); }
  Layer(int64_t n, int64_t k, int64_t group) : n(n), k(k), group(group) { fill(); }

  int64_t groups() const { return k / group; }
  int code(int64_t r, int64_t c) const { return codes[static_cast<size_t>(r * k + c)]; }
  int zero(int64_t r, int64_t g) const { return zeros[static_cast<size_t>(r * groups() + g)]; }
  float scale(int64_t r, int64_t g) const { return scales[static_cast<size_t>(r * groups() + g)]; }

  void fill() {
    Numbers numbers;
    codes = numbers.list(n * k, 16);
    zeros = numbers.list(n * groups(), 16);
    // Powers of two: gemv_fast's products are then exact.
    for (int64_t i = 0; i < n * groups(); ++i)
      scales.push_back(1.0f / static_cast<float>(1 << numbers.next(8)));
  }

  std::string config(std::string_view version) const {
    return format(R"({{"quant_method": "awq", "bits": 4, "group_size": {}, "zero_point": {},
                      "version": "{}"}})",
                  group,
                  !symmetric,
                  version);
  }

  // Output 8 w + {0, 2, 4, 6, 1, 3, 5, 7}[i] in nibble i.
  template <typename At>
  static std::vector<uint32_t> awq_words(int64_t lines, int64_t width, At&& at) {
    constexpr int64_t kOrder[] = {0, 2, 4, 6, 1, 3, 5, 7};
    std::vector<uint32_t> out;
    for (int64_t line = 0; line < lines; ++line)
      for (int64_t w = 0; w < width / 8; ++w) {
        std::vector<int> fields;
        for (const int64_t i : kOrder) fields.push_back(at(8 * w + i, line));
        out.push_back(packed(fields, 4)[0]);
      }
    return out;
  }

  LayerCheckpoint gemm(const std::string& config) const {
    LayerCheckpoint out(config);
    out.add("p.qweight", Stored::i32, {k, n / 8}, awq_words(k, n, [&](int64_t r, int64_t c) {
              return code(r, c);
            }));
    out.add("p.qzeros",
            Stored::i32,
            {groups(), n / 8},
            awq_words(groups(), n, [&](int64_t r, int64_t g) { return zero(r, g); }));
    std::vector<float> by_group;
    for (int64_t g = 0; g < groups(); ++g)
      for (int64_t r = 0; r < n; ++r) by_group.push_back(scale(r, g));
    out.add_f16("p.scales", {groups(), n}, by_group);
    return out;
  }

  int64_t zero_words() const {
    const int64_t step = group >= 128 ? 1 : group == 64 ? 2 : 4;
    return ((groups() + 7) / 8 + step - 1) / step * step;
  }

  LayerCheckpoint gemv(const std::string& config) const {
    LayerCheckpoint out(config);
    const int64_t width = 8 * zero_words();
    std::vector<uint32_t> qzeros;
    std::vector<float> padded;
    for (int64_t r = 0; r < n; ++r) {
      std::vector<int> row;
      for (int64_t g = 0; g < width; ++g) {
        row.push_back(g < groups() ? zero(r, g) : 0);
        padded.push_back(g < groups() ? scale(r, g) : 0);
      }
      const auto words = packed(row, 4);
      qzeros.insert(qzeros.end(), words.begin(), words.end());
    }
    out.add("p.qweight", Stored::i32, {n, k / 8}, packed(codes, 4));
    out.add("p.qzeros", Stored::i32, {n, zero_words()}, qzeros);
    out.add_f16("p.scales", {n, width}, padded);
    return out;
  }

  // llm-awq's interleaving, step by step: columns of each 32 as (4, 4, 2) with the first two axes
  // exchanged; of each 8, the even ones first; then four rows and 64 columns to 64 words.
  std::vector<uint16_t> interleaved() const {
    std::vector<int> shuffled;
    for (int64_t r = 0; r < n; ++r)
      for (int64_t block = 0; block < k; block += 32) {
        std::vector<int64_t> order;
        for (int64_t y = 0; y < 4; ++y)
          for (int64_t x = 0; x < 4; ++x)
            for (int64_t z = 0; z < 2; ++z) order.push_back(8 * x + 2 * y + z);
        for (size_t eight = 0; eight < 32; eight += 8)
          for (const size_t i : {0, 2, 4, 6, 1, 3, 5, 7})
            shuffled.push_back(code(r, block + order[eight + i]));
      }
    std::vector<uint16_t> out;
    for (int64_t r = 0; r < n; r += 4)
      for (int64_t block = 0; block < k; block += 64) {
        std::vector<int> fields;
        for (int64_t i = 0; i < 4; ++i)
          for (int64_t c = 0; c < 64; ++c)
            fields.push_back(shuffled[static_cast<size_t>((r + i) * k + block + c)]);
        for (const uint32_t word : packed(fields, 4)) {
          out.push_back(static_cast<uint16_t>(word & 0xffff));
          out.push_back(static_cast<uint16_t>(word >> 16));
        }
      }
    return out;
  }

  LayerCheckpoint gemv_fast(const std::string& config) const {
    LayerCheckpoint out(config);
    const int64_t height = 8 * zero_words();
    std::vector<float> by_group, products;
    for (int64_t g = 0; g < height; ++g)
      for (int64_t r = 0; r < n; ++r) {
        const float s = g < groups() ? scale(r, g) : 0;
        by_group.push_back(s);
        products.push_back(g < groups() ? -s * static_cast<float>(zero(r, g)) : 0);
      }
    out.add("p.qweight", Stored::i16, {n / 4, k}, interleaved());
    out.add_f16("p.qzeros", {height, n}, products);
    out.add_f16("p.scales", {height, n}, by_group);
    return out;
  }

  void expect_equal(const LayerCheckpoint& checkpoint) const {
    EXPECT_EQ(checkpoint.format().name(), "awq");
    const Tensor got = dequantize(checkpoint.read());
    ASSERT_EQ(got.shape(), Shape({n, k}));
    for (int64_t r = 0; r < n; ++r)
      for (int64_t c = 0; c < k; ++c) {
        const int64_t g = c / group;
        const float wanted =
            scale(r, g) * static_cast<float>(code(r, c) - (symmetric ? 8 : zero(r, g)));
        ASSERT_EQ(got.data<float>()[r * k + c], wanted) << r << ", " << c;
      }
  }
};

TEST(Awq, GemmFollowsTheFormula) {
  for (const Layer& layer : {Layer(), Layer(8, 40, 8), Layer(136, 128, 128), Layer(264, 36, 12)}) {
    const LayerCheckpoint checkpoint = layer.gemm(layer.config("gemm"));
    layer.expect_equal(checkpoint);
    expect_parts_equal_whole(checkpoint);
  }
}

TEST(Awq, GemvFollowsTheFormula) {
  for (const Layer& layer :
       {Layer(), Layer(16, 128, 64), Layer(24, 128, 32), Layer(8, 2304, 128)}) {
    const LayerCheckpoint checkpoint = layer.gemv(layer.config("GEMV"));
    layer.expect_equal(checkpoint);
    expect_parts_equal_whole(checkpoint);
  }
}

TEST(Awq, GemvFastFollowsTheFormula) {
  for (const Layer& layer : {Layer(), Layer(8, 128, 32), Layer(8, 1152, 128)}) {
    const LayerCheckpoint checkpoint = layer.gemv_fast(layer.config("gemv_fast"));
    layer.expect_equal(checkpoint);
    expect_parts_equal_whole(checkpoint);
  }
}

TEST(Awq, WithoutZeroPointTheMiddleIsZero) {
  Layer layer;
  layer.symmetric = true;
  LayerCheckpoint checkpoint = layer.gemm(layer.config("gemm"));
  layer.expect_equal(checkpoint);
  checkpoint.remove("p.qzeros");
  layer.expect_equal(checkpoint);
  EXPECT_EQ(checkpoint.read().codes.dtype(), DType::i8);
}

TEST(Awq, SpellingsAndSilenceMeanTheSame) {
  const Layer layer;
  layer.expect_equal(layer.gemm(""));
  layer.expect_equal(layer.gemm(R"({"w_bit": 4, "q_group_size": 64, "version": "GEMM"})"));
  layer.expect_equal(layer.gemm(R"({"quant_method": "intel/auto-round", "bits": 4, "sym": false,
                                    "packing_format": "auto_round:auto_awq", "group_size": 64})"));
}

TEST(Awq, TheShapesDecideTheVersion) {
  const Layer layer;
  layer.expect_equal(layer.gemv(layer.config("gemm")));
  layer.expect_equal(layer.gemm(layer.config("gemv")));
  layer.expect_equal(layer.gemv_fast(layer.config("gemm")));
}

TEST(Awq, OneGroup) {
  const Layer layer(16, 256, 256);
  const LayerCheckpoint checkpoint =
      layer.gemm(R"({"quant_method": "awq", "bits": 4, "group_size": -1, "zero_point": true})");
  EXPECT_EQ(checkpoint.read().block_cols, 0);
  layer.expect_equal(checkpoint);
}

TEST(Awq, ReadsTheWorkedWords) {
  LayerCheckpoint checkpoint(
      R"({"quant_method": "awq", "bits": 4, "group_size": 1, "zero_point": true})");
  checkpoint.add("p.qweight", Stored::i32, {2, 1}, std::vector<uint32_t>{0x75316420, 0x5703C8FA});
  checkpoint.add("p.qzeros", Stored::i32, {2, 1}, std::vector<uint32_t>{0, 0x9708F878});
  checkpoint.add_f16("p.scales", {2, 8}, std::vector<float>(16, 0.0125f));
  const Tensor w = dequantize(checkpoint.read());
  const int worked[] = {2, -5, 8, 0, 0, 0, -3, -4};
  for (int r = 0; r < 8; ++r) {
    EXPECT_EQ(w.data<float>()[2 * r], static_cast<float>(r) * f16_to_float(0x2266));
    EXPECT_EQ(w.data<float>()[2 * r + 1], static_cast<float>(worked[r]) * f16_to_float(0x2266));
  }
}

TEST(Awq, ProductsThatAreNotWholeAreRoundedAndNamed) {
  const Layer layer;
  LayerCheckpoint checkpoint = layer.gemv_fast(layer.config("gemv_fast"));
  std::vector<float> products(static_cast<size_t>(8 * layer.zero_words() * layer.n), -0.002f);
  checkpoint.add_f16("p.qzeros", {8 * layer.zero_words(), layer.n}, products);
  testing::internal::CaptureStderr();
  (void)checkpoint.read();
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("tensor=p.qzeros"), HasSubstr("not whole: rounded")));
  checkpoint.add_f16(
      "p.qzeros", {8 * layer.zero_words(), layer.n}, std::vector<float>(products.size(), 1));
  EXPECT_THAT(checkpoint.read_error(), HasSubstr("data_loss: p.qzeros: expected -z scale"));
}

TEST(Awq, TheFileWinsOverExclusion) {
  const Layer layer;
  const LayerCheckpoint checkpoint =
      layer.gemm(R"({"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": true,
                     "modules_to_not_convert": ["p"]})");
  testing::internal::CaptureStderr();
  layer.expect_equal(checkpoint);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("module=p"), HasSubstr("excluded by quantization_config")));
}

TEST(Awq, PlainLayersThatAreNotExcludedAreNamed) {
  for (const bool excludes : {false, true}) {
    LayerCheckpoint checkpoint(format(R"({{"quant_method": "awq", "modules_to_not_convert": {}}})",
                                      excludes ? R"(["p"])" : "null"));
    checkpoint.add("p.weight", Stored::f32, {1, 2}, std::vector<float>{1, 2});
    testing::internal::CaptureStderr();
    EXPECT_EQ(dequantize(checkpoint.read()).data<float>()[1], 2);
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_EQ(said.find("module=p ") != std::string::npos, !excludes) << said;
  }
}

TEST(Awq, RefusesWhatItDoesNotRead) {
  const Layer layer;
  const auto refusal = [&](const char* config) { return layer.gemm(config).read_error(); };
  EXPECT_THAT(refusal(R"({"quant_method": "awq", "version": "marlin"})"),
              AllOf(HasSubstr("unsupported: p:"), HasSubstr("\"marlin\"")));
  EXPECT_THAT(refusal(R"({"quant_method": "awq", "version": "exllama"})"),
              HasSubstr("unsupported"));
  EXPECT_THAT(refusal(R"({"quant_method": "awq", "version": "next"})"),
              HasSubstr("unsupported: p: config.json: quantization_config: AWQ version next"));
  EXPECT_THAT(refusal(R"({"quant_method": "awq", "bits": 8})"),
              HasSubstr("unsupported: p: AWQ of 8 bits"));
}

TEST(Awq, NamesWhatContradicts) {
  const Layer layer;
  EXPECT_THAT(layer.gemm(R"({"quant_method": "awq", "bits": 4, "group_size": 128})").read_error(),
              HasSubstr("data_loss: p.scales: expected 2 groups by group_size 128 over K = 256"));
  EXPECT_THAT(
      layer.gemv(R"({"quant_method": "awq", "version": "gemv", "group_size": 32})").read_error(),
      HasSubstr("data_loss: p.scales: expected [64, 32]"));
  EXPECT_THAT(layer.gemv(R"({"quant_method": "awq", "version": "gemv"})").read_error(),
              HasSubstr("data_loss: p: group_size is missing"));
  LayerCheckpoint checkpoint = layer.gemm(layer.config("gemm"));
  checkpoint.add("p.qzeros", Stored::i32, {3, 8}, std::vector<uint32_t>(24, 0));
  EXPECT_THAT(checkpoint.read_error(), HasSubstr("data_loss: p.qzeros: expected [4, 8]"));
  checkpoint.remove("p.qzeros");
  EXPECT_THAT(checkpoint.read_error(), HasSubstr("data_loss: p.qzeros: expected beside p.qweight"));
}

TEST(Awq, RefusesScalesThatAreNoNumbers) {
  const Layer layer;
  LayerCheckpoint checkpoint = layer.gemm(layer.config("gemm"));
  checkpoint.set_byte("p.scales", 1, 0x7e);
  EXPECT_THAT(checkpoint.read_error(), HasSubstr("data_loss: p.scales: expected finite"));
}

}  // namespace
}  // namespace quern
