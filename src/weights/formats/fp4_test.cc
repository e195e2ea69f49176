// SPDX-License-Identifier: Apache-2.0
// The hashes are torch 2.15's: codes times (scale / global), (scale * scale_2) or 2^(b - 127), all
// in float32.
#include "base/half.h"
#include "weights/formats/format_test.h"

namespace quern {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kRows = 3, kCols = 64;

struct Bytes {
  std::vector<uint8_t> codes, scales;
};

// Scales from `first` on, `count` different ones.
Bytes random_bytes(int64_t block, uint32_t first, uint32_t count) {
  Noise noise;
  Bytes out;
  for (int64_t i = 0; i < kRows * kCols / 2; ++i)
    out.codes.push_back(static_cast<uint8_t>(noise.below(256)));
  for (int64_t i = 0; i < kRows * kCols / block; ++i)
    out.scales.push_back(static_cast<uint8_t>(noise.below(count) + first));
  return out;
}

void add_nvfp4(MemoryCheckpoint& out,
               const std::string& codes,
               const std::string& global,
               Stored stored = Stored::u8) {
  const Bytes bytes = random_bytes(16, 1, 126);
  out.add(codes, stored, {kRows, stored == Stored::f4 ? kCols : kCols / 2}, bytes.codes);
  out.add("p.weight_scale", Stored::f8_e4m3, {kRows, kCols / 16}, bytes.scales);
  out.add(global, Stored::f32, {1}, std::vector<float>{0.7f});
}

TEST(Fp4, CompressedTensorsDividesByTheGlobalScale) {
  MemoryCheckpoint checkpoint;
  add_nvfp4(checkpoint, "p.weight_packed", "p.weight_global_scale");
  EXPECT_EQ(hash_of(values_of(read_layer(*checkpoint, "p"))), 0x4604cb0a52a23039);
  expect_parts_equal_whole(*checkpoint, "p", 2);
}

TEST(Fp4, ModelOptMultipliesByTheSecondScale) {
  for (const Stored stored : {Stored::u8, Stored::f4}) {
    MemoryCheckpoint checkpoint;
    add_nvfp4(checkpoint, "p.weight", "p.weight_scale_2", stored);
    const QuantMatrix w = read_layer(*checkpoint, "p");
    EXPECT_EQ(hash_of(values_of(w)), 0x179a2468e45f5993);
    EXPECT_EQ(w.scales.dtype(), DType::bf16);
    expect_parts_equal_whole(*checkpoint, "p", 2);
  }
}

TEST(Fp4, MxHasPowersOfTwo) {
  const Bytes bytes = random_bytes(32, 27, 200);
  for (const Stored stored : {Stored::u8, Stored::f8_e8m0}) {
    MemoryCheckpoint checkpoint;
    checkpoint.add("p.weight_packed", Stored::u8, {kRows, kCols / 2}, bytes.codes);
    checkpoint.add("p.weight_scale", stored, {kRows, kCols / 32}, bytes.scales);
    EXPECT_EQ(hash_of(values_of(read_layer(*checkpoint, "p"))), 0xeb712a291c940785);
    expect_parts_equal_whole(*checkpoint, "p", 2);
  }
}

TEST(Fp4, StackedBlocksAreRowsOfOneMatrix) {
  const Bytes bytes = random_bytes(32, 27, 200);
  MemoryCheckpoint checkpoint;
  checkpoint.add("experts.up_blocks", Stored::u8, {3, 1, 2, 16}, bytes.codes);
  checkpoint.add("experts.up_scales", Stored::u8, {3, 1, 2}, bytes.scales);
  EXPECT_EQ(format_of(*checkpoint, "experts.up").shape(*checkpoint, "experts.up"),
            (Shape{kRows, kCols}));
  EXPECT_EQ(hash_of(values_of(read_layer(*checkpoint, "experts.up"))), 0xeb712a291c940785);
  expect_parts_equal_whole(*checkpoint, "experts.up", 1);
}

TEST(Fp4, TheLowNibbleComesFirst) {
  MemoryCheckpoint checkpoint;
  std::vector<uint8_t> codes = {0x2D, 0x77};
  codes.resize(8);
  checkpoint.add("p.weight_packed", Stored::u8, {1, 8}, codes);
  checkpoint.add("p.weight_scale", Stored::f8_e4m3, {1, 1}, std::vector<uint8_t>{0x7e});
  checkpoint.add("p.weight_global_scale", Stored::f32, {1}, std::vector<float>{896});
  const std::vector<float> values = values_of(read_layer(*checkpoint, "p"));
  EXPECT_EQ(values[0], -1.5f);
  EXPECT_EQ(values[1], 0.5f);
  EXPECT_EQ(values[2], 3.0f);
}

TEST(Fp4, IsCutAtBlocks) {
  MemoryCheckpoint checkpoint;
  add_nvfp4(checkpoint, "p.weight", "p.weight_scale_2");
  EXPECT_EQ(format_of(*checkpoint, "p").granule(*checkpoint, "p").cols, 16);
}

// An NVFP4 layer with the global scale `global`, or without one.
std::string refusal_with_global(std::vector<float> global) {
  MemoryCheckpoint checkpoint;
  checkpoint.add("p.weight_packed", Stored::u8, {1, 8}, std::vector<uint8_t>(8));
  checkpoint.add("p.weight_scale", Stored::f8_e4m3, {1, 1}, std::vector<uint8_t>{0x7e});
  if (!global.empty())
    checkpoint.add(
        "p.weight_global_scale", Stored::f32, {static_cast<int64_t>(global.size())}, global);
  return refusal(*checkpoint, "p");
}

TEST(Fp4, RefusesGlobalScalesThatMakeNoSense) {
  EXPECT_EQ(refusal_with_global({1}), "read");
  EXPECT_THAT(refusal_with_global({}),
              HasSubstr("data_loss: p.weight_global_scale: expected beside p.weight_packed"));
  EXPECT_THAT(refusal_with_global({1, 2}),
              HasSubstr("data_loss: p.weight_global_scale: expected one f32 number, got f32 [2]"));
  EXPECT_THAT(refusal_with_global({0}),
              HasSubstr("data_loss: p.weight_scale / weight_global_scale: expected finite scales"));
  EXPECT_THAT(refusal_with_global({NAN}), HasSubstr("expected a finite number"));
}

TEST(Fp4, RefusesWhatDoesNotFit) {
  const auto refusal_of = [](Stored stored, const Shape& shape, std::vector<uint8_t> scales) {
    MemoryCheckpoint checkpoint;
    checkpoint.add("p.weight_packed", Stored::u8, {1, 32}, std::vector<uint8_t>(32));
    if (!scales.empty()) checkpoint.add("p.weight_scale", stored, shape, scales);
    return refusal(*checkpoint, "p");
  };
  EXPECT_EQ(refusal_of(Stored::u8, {1, 2}, {1, 2}), "read");
  EXPECT_THAT(refusal_of(Stored::u8, {}, {}),
              HasSubstr("data_loss: p.weight_scale: expected beside p.weight_packed"));
  EXPECT_THAT(refusal_of(Stored::u8, {1, 2}, {1, 255}), HasSubstr("expected finite scales"));
  EXPECT_THAT(refusal_of(Stored::u8, {1, 3}, {1, 2, 3}),
              HasSubstr("data_loss: p.weight_scale: expected [1, 2], one number for each 1 x 32"));
  EXPECT_THAT(refusal_of(Stored::i8, {1, 2}, {1, 2}),
              HasSubstr("data_loss: p.weight_scale: expected e8m0, as u8"));
  MemoryCheckpoint blocks;
  blocks.add("p_blocks", Stored::u8, {1, 2, 8}, std::vector<uint8_t>(16));
  blocks.add("p_scales", Stored::u8, {1, 2}, std::vector<uint8_t>(2));
  EXPECT_THAT(refusal(*blocks, "p"), HasSubstr("data_loss: p_blocks: expected u8 [..., N, G, 16]"));
}

}  // namespace
}  // namespace quern
