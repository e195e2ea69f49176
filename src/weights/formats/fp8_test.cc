// SPDX-License-Identifier: Apache-2.0
#include <xmmintrin.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "base/half.h"
#include "weights/formats/format_test.h"

namespace quern {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<uint8_t> every_code() {
  std::vector<uint8_t> codes(256);
  std::iota(codes.begin(), codes.end(), uint8_t{0});
  return codes;
}

// Subnormal operands and results become 0 while it lives, as in many inference processes.
class FlushToZero {
 public:
  FlushToZero() { _mm_setcsr(saved_ | 0x8040); }
  ~FlushToZero() { _mm_setcsr(saved_); }

 private:
  unsigned saved_ = _mm_getcsr();
};

// Every code under scale 1, NaN as 1234.
std::vector<float> decoded(Stored stored) {
  MemoryCheckpoint checkpoint;
  checkpoint.add("p.weight", stored, {2, 128}, every_code());
  checkpoint.add("p.weight_scale", Stored::f32, {}, std::vector<float>{1});
  std::vector<float> values = values_of(read_layer(*checkpoint, "p"));
  for (float& value : values) value = std::isnan(value) ? 1234.0f : value;
  return values;
}

// Hashes of torch 2.15's conversions of the 256 codes to float32.
TEST(Fp8, EveryCodeAlsoWhereSubnormalsAreFlushed) {
  const auto check = [] {
    const std::vector<float> e4m3 = decoded(Stored::f8_e4m3);
    EXPECT_EQ(hash_of(e4m3), 0xda218755bf231a25);
    EXPECT_EQ(e4m3[0x01], 0x1p-9f);
    EXPECT_EQ(e4m3[0x7e], 448);
    EXPECT_EQ(e4m3[0xb8], -1);
    EXPECT_EQ(e4m3[0x7f], 1234);
    EXPECT_EQ(hash_of(decoded(Stored::f8_e5m2)), 0xc2043f9e759f7205);
  };
  check();
  const FlushToZero flushed;
  check();
}

// A [N, K] layer "p" of codes of 1 and the scales 0, 1, 2, …, in the type `stored`.
void add_layer(MemoryCheckpoint& out,
               const Shape& shape,
               const std::string& scale,
               const Shape& grid) {
  out.add("p.weight",
          Stored::f8_e4m3,
          shape,
          std::vector<uint8_t>(static_cast<size_t>(shape.numel()), 0x38));
  std::vector<float> scales(static_cast<size_t>(grid.numel()));
  std::iota(scales.begin(), scales.end(), 0.0f);
  out.add(scale, Stored::f32, grid, scales);
}

TEST(Fp8, BlocksAtTheEdgesMayBePartial) {
  for (const char* config : {"{}",
                             R"({"quantization_config": {"quant_method": "fp8", "fmt": "e4m3",
                                 "weight_block_size": [128, 128]}})"}) {
    MemoryCheckpoint checkpoint(config);
    add_layer(checkpoint, {192, 192}, "p.weight_scale_inv", {2, 2});
    const std::vector<float> values = values_of(read_layer(*checkpoint, "p"));
    for (size_t n = 0; n < 192; ++n)
      for (size_t k = 0; k < 192; ++k)
        ASSERT_EQ(values[n * 192 + k], static_cast<float>(n / 128 * 2 + k / 128));
    EXPECT_EQ(format_of(*checkpoint, "p").granule(*checkpoint, "p").cols, 128);
  }
}

TEST(Fp8, RowsMayBeCutInsideABlock) {
  MemoryCheckpoint checkpoint;
  add_layer(checkpoint, {300, 256}, "p.weight_scale_inv", {3, 2});
  for (const int64_t step : {128, 96, 64, 50, 1}) expect_parts_equal_whole(*checkpoint, "p", step);
  EXPECT_EQ(read_layer(*checkpoint, "p", {128, 256}, {0, 256}).block_rows, 128);
  EXPECT_EQ(read_layer(*checkpoint, "p", {96, 192}, {0, 256}).block_rows, 32);
}

TEST(Fp8, BlocksMayHaveAnotherSize) {
  MemoryCheckpoint checkpoint(R"({"quantization_config": {"quant_method": "fp8",
      "weight_block_size": [2, 4]}})");
  add_layer(checkpoint, {3, 6}, "p.weight_scale_inv", {2, 2});
  EXPECT_THAT(values_of(read_layer(*checkpoint, "p")),
              ElementsAre(0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3));
}

TEST(Fp8, OneScaleForAllOrForEachRow) {
  for (const Shape& grid : {Shape{}, Shape{1}, Shape{1, 1}}) {
    MemoryCheckpoint checkpoint;
    checkpoint.add("p.weight", Stored::f8_e4m3, {2, 2}, std::vector<uint8_t>{0x38, 0xb8, 0x40, 0});
    checkpoint.add("p.weight_scale", Stored::f32, grid, std::vector<float>{0.25f});
    checkpoint.add("p.input_scale", Stored::f32, {}, std::vector<float>{7});
    const QuantMatrix w = read_layer(*checkpoint, "p");
    EXPECT_EQ(w.scales.shape(), (Shape{1, 1}));
    EXPECT_EQ(static_cast<const void*>(w.codes.raw()), checkpoint->bytes("p.weight").data());
    EXPECT_THAT(values_of(w), ElementsAre(0.25f, -0.25f, 0.5f, 0));
  }
  for (const Shape& grid : {Shape{3}, Shape{3, 1}}) {
    MemoryCheckpoint checkpoint;
    add_layer(checkpoint, {3, 2}, "p.weight_scale", grid);
    EXPECT_THAT(values_of(read_layer(*checkpoint, "p")), ElementsAre(0, 0, 1, 1, 2, 2));
    expect_parts_equal_whole(*checkpoint, "p", 1);
  }
}

TEST(Fp8, AScaleMayHaveAnyFloatType) {
  const auto value = [](Stored stored, const auto& scale) {
    MemoryCheckpoint checkpoint;
    checkpoint.add("p.weight", Stored::f8_e4m3, {1, 1}, std::vector<uint8_t>{0x3c});
    checkpoint.add("p.weight_scale_inv", stored, {1, 1}, std::vector{scale});
    return values_of(read_layer(*checkpoint, "p"))[0];
  };
  EXPECT_EQ(value(Stored::f32, 0.1f), 1.5f * 0.1f);
  EXPECT_EQ(value(Stored::f16, float_to_f16(-0.375f)), -0.5625f);
  EXPECT_EQ(value(Stored::bf16, float_to_bf16(3)), 4.5f);
  EXPECT_EQ(value(Stored::f8_e8m0, uint8_t{120}), 1.5f * 0x1p-7f);
  EXPECT_EQ(value(Stored::f8_e8m0, uint8_t{0}), 1.5f * 0x1p-127f);
  EXPECT_EQ(value(Stored::u8, uint8_t{254}), 1.5f * 0x1p127f);
  EXPECT_EQ(value(Stored::f8_e4m3, uint8_t{0x01}), 1.5f * 0x1p-9f);
}

TEST(Fp8, CompressedTensorsStatesBlocks) {
  constexpr std::string_view kConfig = R"({{"quantization_config": {{
      "quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {{"g": {{
      "targets": ["Linear"], "weights": {{"num_bits": 8, "type": "float", {}}}}}}}}}}})";
  MemoryCheckpoint blocks(format(kConfig, R"("strategy": "block", "block_structure": [2, 2])"));
  add_layer(blocks, {2, 4}, "p.weight_scale", {1, 2});
  EXPECT_THAT(values_of(read_layer(*blocks, "p")), ElementsAre(0, 0, 1, 1, 0, 0, 1, 1));
  MemoryCheckpoint rows(format(kConfig, R"("strategy": "channel")"));
  add_layer(rows, {2, 4}, "p.weight_scale", {1, 2});
  EXPECT_THAT(refusal(*rows, "p"), HasSubstr("data_loss: p.weight_scale: expected [2, 1]"));
}

TEST(Fp8, AnExcludedModuleIsReadWithAWarning) {
  MemoryCheckpoint checkpoint(R"({"quantization_config": {"quant_method": "fp8",
      "modules_to_not_convert": ["p"]}})");
  add_layer(checkpoint, {1, 1}, "p.weight_scale", {1});
  testing::internal::CaptureStderr();
  EXPECT_THAT(values_of(read_layer(*checkpoint, "p")), ElementsAre(0));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("module=p "));
}

std::string refusal_of(const Shape& weight,
                       const Shape& grid,
                       float scale,
                       std::string_view config = "{}") {
  MemoryCheckpoint checkpoint(config);
  checkpoint.add("p.weight",
                 Stored::f8_e4m3,
                 weight,
                 std::vector<uint8_t>(static_cast<size_t>(weight.numel())));
  if (grid.numel() > 0)
    checkpoint.add("p.weight_scale_inv",
                   Stored::f32,
                   grid,
                   std::vector<float>(static_cast<size_t>(grid.numel()), scale));
  return refusal(*checkpoint, "p");
}

TEST(Fp8, RefusesWhatDoesNotFit) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr std::string_view kStated =
      R"({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}})";
  EXPECT_THAT(refusal_of({2, 2}, {0}, 1),
              HasSubstr("data_loss: p.weight_scale: expected beside p.weight"));
  EXPECT_THAT(refusal_of({256, 256}, {2, 3}, 1),
              HasSubstr("data_loss: p.weight_scale_inv: expected"));
  EXPECT_THAT(
      refusal_of({256, 256}, {3, 2}, 1, kStated),
      HasSubstr("data_loss: p.weight_scale_inv: expected [2, 2], one number for each 128 x 128"));
  EXPECT_THAT(refusal_of({256, 256}, {2, 2, 1}, 1, kStated), HasSubstr("data_loss"));
  EXPECT_THAT(refusal_of({256, 256}, {2, 2, 1}, 1), HasSubstr("data_loss"));
  EXPECT_THAT(refusal_of({2, 2}, {1}, kNan), HasSubstr("expected finite scales"));
  EXPECT_THAT(refusal_of({2, 2}, {1}, INFINITY), HasSubstr("expected finite scales"));
  EXPECT_THAT(refusal_of({2, 2, 2}, {1}, 1), HasSubstr("unsupported: p.weight: expected a matrix"));
  EXPECT_THAT(
      refusal_of({2, 2}, {1}, 1, R"({"quantization_config": {"weight_block_size": [128]}})"),
      HasSubstr("key weight_block_size: expected two positive sizes, got [128]"));
}

}  // namespace
}  // namespace quern
