// SPDX-License-Identifier: Apache-2.0
// Every block type against the gguf Python package 0.19 (quants.dequantize): pseudo-random blocks,
// float32 results, bit by bit.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "weights/gguf_bytes.h"
#include "weights/stored.h"
#include "weights/weight_format.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kRows = 4, kCols = 512;

struct Case {
  Stored stored;
  uint32_t type;                  // in the file
  std::vector<size_t> halves;     // where a block has float16 numbers
  float first, eighteenth, last;  // elements [0, 0], [0, 17], [3, 511]
  uint64_t hash;                  // FNV-1a of all float32 results
};

// Made by dequantize(blocks, type) of the package from the blocks that blocks_of() makes.
const Case kCases[] = {
    {Stored::q4_0, 2, {0}, -0x1.f4p-8f, -0x1.f4p-8f, 0.0f, 0x77d93ccba881ea76},
    {Stored::q4_1, 3, {0, 2}, 0x1.24cp-1f, 0x1.24cp-1f, 0x1.830ep-1f, 0x7c8c8de1acd0d04b},
    {Stored::q5_0, 6, {0}, 0x1.9p-9f, -0x1.77p-6f, -0x1.d64p-13f, 0xb3486f4a33b112b6},
    {Stored::q5_1, 7, {0, 2}, 0x1.3078p-1f, 0x1.3cf8p-1f, 0x1.05p-3f, 0x1040bcbac64d9e2c},
    {Stored::q8_0, 8, {0}, -0x1.54ap-3f, -0x1.6a8p-5f, -0x1.854p+0f, 0x7e8dbe155fb2b3f6},
    {Stored::q4_k, 12, {0, 2}, -0x1.1942p+4f, -0x1.155ap+4f, 0x1.628588p-1f, 0x31d42cf043de284d},
    {Stored::q5_k, 13, {0, 2}, -0x1.04f2p+4f, -0x1.1302p+4f, 0x1.4fb7p-4f, 0xd83e5e82feacf3d8},
    {Stored::q6_k, 14, {208}, -0x1.fe03p-4f, -0x1.2ea3fp-4f, 0x1.b5f58p+6f, 0xccba21af41eb4f2c},
    {Stored::q2_k, 10, {80, 82}, 0x1.ac8p-8f, 0x1.ac8p-10f, -0x1.82ep-11f, 0x912255c8159e92c1},
    {Stored::q3_k, 11, {108}, -0x1.103p-9f, -0x1.9848p-9f, 0x1.696p+0f, 0x6d17e71ae8a6e78},
    {Stored::iq4_nl, 20, {0}, -0x1.964p-4f, -0x1.964p-4f, 0x1.f68p-12f, 0x60ec57bc847f652b},
    {Stored::iq4_xs, 23, {0}, 0x1.612p+1f, 0x1.612p+1f, -0x1.391bp+7f, 0xbff3a2483c27d759},
    {Stored::mxfp4, 39, {}, 0x1p-61f, -0x1p-64f, 0x1.8p+19f, 0x7bd191ee44292014},
};

std::string blocks_of(const Case& c) {
  const Block block = block_of(c.stored);
  std::string out(static_cast<size_t>(kRows * kCols / block.elements * block.bytes), '\0');
  uint32_t state = 42;
  for (char& byte : out) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<char>(state >> 24);
  }
  for (size_t at = 0; at < out.size(); at += static_cast<size_t>(block.bytes))
    for (const size_t half : c.halves)
      out[at + half + 1] &= static_cast<char>(0xbf);  // below 2: neither infinite nor NaN
  return out;
}

uint64_t hash_of(const Tensor& t) {
  uint64_t hash = 0xcbf29ce484222325;
  const auto* bytes = reinterpret_cast<const uint8_t*>(t.data<float>());
  for (int64_t i = 0; i < t.numel() * 4; ++i) hash = (hash ^ bytes[i]) * 0x100000001b3;
  return hash;
}

class GgufBlocks : public testing::TestWithParam<Case> {
 protected:
  GgufBlocks()
      : path_(fs::temp_directory_path() /
              format("quern_blocks_{}.gguf", reinterpret_cast<uintptr_t>(this))) {
    GgufBytes b = gguf_model("llama");
    b.u32("llama.vocab_size", 4);
    b.tensor("blk.0.ffn_up.weight", {kCols, kRows}, GetParam().type, blocks_of(GetParam()));
    b.tensor("blk.0.attn_q.weight", {kCols, kRows}, GetParam().type, blocks_of(GetParam()));
    write(b);
  }
  ~GgufBlocks() override { fs::remove(path_); }

  QuantMatrix read(const std::string& prefix,
                   Range rows,
                   Range cols,
                   Device device = Device::cpu()) const {
    return format_of(*checkpoint_, prefix).read(*checkpoint_, prefix, rows, cols, device);
  }

  static constexpr const char* kUp = "model.layers.0.mlp.up_proj";
  std::unique_ptr<Checkpoint> checkpoint_;

 private:
  // One head of four rows, so that q has an order of rows.
  void write(GgufBytes& b) {
    std::string file = b.file();
    const std::string key = gguf_string("llama.attention.head_count");
    const size_t at = file.find(key) + key.size() + 4;
    file[at] = 1;
    std::ofstream(path_, std::ios::binary) << file;
    checkpoint_ = open_checkpoint(path_.string());
  }
  fs::path path_;
};

TEST_P(GgufBlocks, DequantizeAsTheReferenceDoes) {
  const QuantMatrix w = read(kUp, {0, kRows}, {0, kCols});
  validate(w);
  const Tensor values = dequantize(w);
  ASSERT_EQ(values.shape(), Shape({kRows, kCols}));
  EXPECT_EQ(values.data<float>()[0], GetParam().first);
  EXPECT_EQ(values.data<float>()[17], GetParam().eighteenth);
  EXPECT_EQ(values.data<float>()[3 * kCols + 511], GetParam().last);
  EXPECT_EQ(hash_of(values), GetParam().hash);
}

TEST_P(GgufBlocks, PartsEqualTheWhole) {
  const Tensor whole = dequantize(read(kUp, {0, kRows}, {0, kCols}));
  const int64_t granule = format_of(*checkpoint_, kUp).granule(*checkpoint_, kUp).cols;
  EXPECT_EQ(granule, block_of(GetParam().stored).elements);
  const Range rows{1, 3}, cols{granule, kCols};
  const Tensor part = dequantize(read(kUp, rows, cols));
  ASSERT_EQ(part.shape(), Shape({2, kCols - granule}));
  for (int64_t r = 0; r < 2; ++r)
    for (int64_t c = 0; c < cols.size(); ++c)
      ASSERT_EQ(part.data<float>()[r * cols.size() + c],
                whole.data<float>()[(1 + r) * kCols + granule + c]);
}

TEST_P(GgufBlocks, RowsComeInPublishedOrder) {
  const Tensor stored = dequantize(read(kUp, {0, kRows}, {0, kCols}));
  const Tensor published = dequantize(read("model.layers.0.self_attn.q_proj", {1, 3}, {0, kCols}));
  for (int64_t c = 0; c < kCols; ++c) {
    ASSERT_EQ(published.data<float>()[c], stored.data<float>()[2 * kCols + c]);
    ASSERT_EQ(published.data<float>()[kCols + c], stored.data<float>()[kCols + c]);
  }
}

TEST_P(GgufBlocks, CodesStayWithinTheirBits) {
  const QuantMatrix w = read(kUp, {0, kRows}, {0, kCols});
  const int least = w.codes.dtype() == DType::i8 ? -(1 << (w.code_bits - 1)) : 0;
  for (int64_t i = 0; i < w.codes.numel(); ++i) {
    const int code =
        w.codes.dtype() == DType::i8 ? w.codes.data<int8_t>()[i] : w.codes.data<uint8_t>()[i];
    ASSERT_GE(code, least);
    ASSERT_LT(code, least + (1 << w.code_bits));
  }
}

TEST_P(GgufBlocks, MetaHasTheSameShapes) {
  const QuantMatrix real = read(kUp, {0, 2}, {0, kCols}),
                    meta = read(kUp, {0, 2}, {0, kCols}, Device::meta());
  validate(meta);
  EXPECT_EQ(meta.codes.shape(), real.codes.shape());
  EXPECT_EQ(meta.scales.shape(), real.scales.shape());
  EXPECT_EQ(meta.super_scales.defined(), real.super_scales.defined());
  EXPECT_TRUE(meta.codes.device().is_meta());
}

INSTANTIATE_TEST_SUITE_P(Types, GgufBlocks, testing::ValuesIn(kCases), [](const auto& info) {
  return std::string(name_of(info.param.stored));
});

}  // namespace
}  // namespace quern
