// SPDX-License-Identifier: Apache-2.0
// bitsandbytes' weights against the formula; refusals.
#include <gmock/gmock.h>

#include "weights/formats/layer_checkpoint.h"

namespace quern {
namespace {

using ::testing::HasSubstr;

constexpr const char* kState = "p.weight.quant_state.bitsandbytes__nf4";

// NF4: the quantiles of the normal distribution that bitsandbytes stores with each weight.
const std::vector<float> kNf4 = {-1.0f,
                                 -0.6961928009986877f,
                                 -0.5250730514526367f,
                                 -0.39491748809814453f,
                                 -0.28444138169288635f,
                                 -0.18477343022823334f,
                                 -0.09105003625154495f,
                                 0.0f,
                                 0.07958029955625534f,
                                 0.16093020141124725f,
                                 0.24611230194568634f,
                                 0.33791524171829224f,
                                 0.44070982933044434f,
                                 0.5626170039176941f,
                                 0.7229568362236023f,
                                 1.0f};

struct Layer {
  int64_t n = 6, k = 128;
  std::vector<int> codes;
  std::vector<float> absmax;  // of each 64

  Layer(int64_t n = 6, int64_t k = 128) : n(n), k(k) {
    Numbers numbers;
    codes = numbers.list(n * k, 16);
    for (int64_t i = 0; i < n * k; i += 64)
      absmax.push_back(static_cast<float>(1 + numbers.next(99)) / 128);
  }

  static void add_state(LayerCheckpoint& out, const std::string& json) {
    out.add(kState,
            Stored::u8,
            {static_cast<int64_t>(json.size())},
            std::vector<char>(json.begin(), json.end()));
  }

  LayerCheckpoint checkpoint() const {
    LayerCheckpoint out(R"({"quant_method": "bitsandbytes", "load_in_4bit": true})");
    std::vector<uint8_t> bytes;
    for (size_t i = 0; i < codes.size(); i += 2)
      bytes.push_back(static_cast<uint8_t>(codes[i] << 4 | codes[i + 1]));
    out.add("p.weight", Stored::u8, {n * k / 2, 1}, bytes);
    out.add("p.weight.absmax", Stored::f32, {static_cast<int64_t>(absmax.size())}, absmax);
    out.add("p.weight.quant_map", Stored::f32, {16}, kNf4);
    add_state(out,
              format(R"({{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16",
                         "shape": [{}, {}]}})",
                     n,
                     k));
    return out;
  }

  void expect_equal(const LayerCheckpoint& checkpoint, const std::vector<float>& scales) const {
    EXPECT_EQ(checkpoint.format().name(), "bitsandbytes");
    const Tensor got = dequantize(checkpoint.read());
    ASSERT_EQ(got.shape(), Shape({n, k}));
    for (size_t i = 0; i < codes.size(); ++i)
      ASSERT_EQ(got.data<float>()[i], scales[i / 64] * kNf4[static_cast<size_t>(codes[i])]) << i;
  }
};

TEST(BitsAndBytes, Nf4FollowsTheFormula) {
  const Layer layer;
  const LayerCheckpoint checkpoint = layer.checkpoint();
  layer.expect_equal(checkpoint, layer.absmax);
  EXPECT_EQ(checkpoint.read().block_cols, 64);
  expect_parts_equal_whole(checkpoint);
}

TEST(BitsAndBytes, BlocksAcrossTheEndsOfRowsAreToldAgain) {
  const Layer layer(8, 80);
  const LayerCheckpoint checkpoint = layer.checkpoint();
  layer.expect_equal(checkpoint, layer.absmax);
  EXPECT_EQ(checkpoint.read().block_cols, 16);
  expect_parts_equal_whole(checkpoint);
  EXPECT_THAT(Layer(64, 12).checkpoint().read_error(),
              HasSubstr("unsupported: p.weight: rows of 12 in blocks of 64"));
}

TEST(BitsAndBytes, NestedScalesAreMultipliedOut) {
  const Layer layer(600, 64);  // 600 scales: three of the second level
  LayerCheckpoint checkpoint = layer.checkpoint();
  Numbers numbers;
  std::vector<uint8_t> codes;
  std::vector<float> map, scales;
  for (int i = 0; i < 256; ++i) map.push_back(static_cast<float>(i - 128) / 128);
  const std::vector<float> outer = {0.5f, 0.25f, 0.75f};
  for (size_t i = 0; i < 600; ++i) {
    codes.push_back(static_cast<uint8_t>(numbers.next(256)));
    scales.push_back(map[codes.back()] * outer[i / 256] + 0.0625f);
  }
  checkpoint.add("p.weight.absmax", Stored::u8, {600}, codes);
  checkpoint.add("p.weight.nested_quant_map", Stored::f32, {256}, map);
  checkpoint.add("p.weight.nested_absmax", Stored::f32, {3}, outer);
  Layer::add_state(checkpoint,
                   R"({"blocksize": 64, "shape": [600, 64], "nested_blocksize": 256,
                       "nested_offset": 0.0625})");
  layer.expect_equal(checkpoint, scales);
  checkpoint.remove("p.weight.nested_absmax");
  EXPECT_THAT(checkpoint.read_error(),
              HasSubstr("data_loss: p.weight.nested_absmax: expected beside"));
}

TEST(BitsAndBytes, Int8FollowsTheFormula) {
  LayerCheckpoint checkpoint(R"({"quant_method": "bitsandbytes", "load_in_8bit": true})");
  std::vector<int8_t> codes;
  Numbers numbers;
  for (int i = 0; i < 4 * 24; ++i) codes.push_back(static_cast<int8_t>(numbers.next(256) - 128));
  const std::vector<float> ranges = {127, 1, 0.5f, 3};
  checkpoint.add("p.weight", Stored::i8, {4, 24}, codes);
  checkpoint.add("p.SCB", Stored::f32, {4}, ranges);
  checkpoint.add("p.weight_format", Stored::u8, {}, std::vector<uint8_t>{0});
  EXPECT_EQ(checkpoint.format().name(), "bitsandbytes");
  const Tensor got = dequantize(checkpoint.read());
  for (size_t i = 0; i < codes.size(); ++i)
    ASSERT_EQ(got.data<float>()[i], ranges[i / 24] / 127.0f * static_cast<float>(codes[i]));
  expect_parts_equal_whole(checkpoint);
  checkpoint.set_byte("p.weight_format", 0, 2);
  EXPECT_THAT(checkpoint.read_error(), HasSubstr("unsupported: p.weight_format: layout 2"));
  checkpoint.add("p.SCB", Stored::f32, {3}, std::vector<float>{1, 1, 1});
  EXPECT_THAT(checkpoint.read_error(), HasSubstr("data_loss: p.SCB: expected f32 of 4 elements"));
}

TEST(BitsAndBytes, RefusesWhatDoesNotBelongTogether) {
  LayerCheckpoint checkpoint = Layer().checkpoint();
  Layer::add_state(checkpoint, R"({"blocksize": 64, "shape": [6, 64]})");
  EXPECT_THAT(checkpoint.read_error(),
              HasSubstr("data_loss: p.weight: expected u8 of 192 elements"));
  for (const char* state : {R"({"blocksize": 0, "shape": [6, 128]})",
                            R"({"blocksize": 64, "shape": [6, -128]})",
                            R"({"blocksize": 64, "shape": [6]})",
                            R"({"blocksize": 64, "shape": [4611686018427387904, 4]})",
                            R"({"blocksize": 64})",
                            "{"}) {
    Layer::add_state(checkpoint, state);
    EXPECT_THAT(checkpoint.read_error(), HasSubstr(format("data_loss: {}", kState))) << state;
  }
  checkpoint.remove(kState);
  EXPECT_THAT(checkpoint.read_error(), HasSubstr("data_loss: p.weight.quant_state"));
}

TEST(BitsAndBytes, RefusesScalesThatAreNoNumbers) {
  LayerCheckpoint checkpoint = Layer().checkpoint();
  checkpoint.set_byte("p.weight.absmax", 7, 0x7f);
  checkpoint.set_byte("p.weight.absmax", 6, 0x80);
  EXPECT_THAT(checkpoint.read_error(), HasSubstr("data_loss: p.weight.absmax: expected finite"));
}

}  // namespace
}  // namespace quern
