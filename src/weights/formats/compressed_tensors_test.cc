// SPDX-License-Identifier: Apache-2.0
// Bytes are packed here by the definition, one bit at a time; the words that are written out are
// what the compressed-tensors package makes of these codes.
#include <cmath>
#include <limits>

#include "base/half.h"
#include "weights/formats/bit_fields.h"
#include "weights/formats/format_test.h"

namespace quern {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

// A configuration of one group of all linears.
std::string config(std::string_view weights, std::string_view rest = "") {
  return format(R"({{"quantization_config": {{"quant_method": "compressed-tensors",
      "format": "pack-quantized", "config_groups": {{"group_0": {{"targets": ["Linear"],
      "weights": {}}}}}{}}}}})",
                weights,
                rest);
}

// Signed codes of one row, packed as the definition says.
std::vector<uint32_t> packed(const std::vector<int>& codes, int bits, bool is_dense = true) {
  const BitFields fields{bits, is_dense};
  std::vector<uint32_t> words(
      static_cast<size_t>(fields.words_for(static_cast<int64_t>(codes.size()))));
  for (size_t i = 0; i < codes.size(); ++i) {
    const size_t in_word = 32 / static_cast<size_t>(bits);
    const size_t first = is_dense ? i * static_cast<size_t>(bits)
                                  : i / in_word * 32 + i % in_word * static_cast<size_t>(bits);
    for (size_t b = 0; b < static_cast<size_t>(bits); ++b)
      if (((codes[i] + (1 << (bits - 1))) >> b & 1) != 0)
        words[(first + b) / 32] |= 1u << ((first + b) % 32);
  }
  return words;
}

// A layer "p" of random codes, zero points and scales.
struct RandomLayer {
  int bits = 4;
  int64_t rows = 6, cols = 96, group = 32;  // group 0: channels
  bool is_dense = true, has_zeros = false;
  std::vector<int> codes = {}, zeros = {};  // [rows, cols], [rows, groups]
  std::vector<float> scales = {};

  int64_t groups() const { return group == 0 ? 1 : (cols + group - 1) / group; }
  int64_t group_of(int64_t k) const { return group == 0 ? 0 : k / group; }

  void fill() {
    Noise noise;
    const auto code = [&] { return static_cast<int>(noise.below(1u << bits)) - (1 << (bits - 1)); };
    for (int64_t i = 0; i < rows * cols; ++i) codes.push_back(code());
    for (int64_t i = 0; i < rows * groups(); ++i) {
      zeros.push_back(has_zeros ? code() : 0);
      scales.push_back(
          bf16_to_float(float_to_bf16((static_cast<float>(noise.below(1000)) - 500.0f) / 4096.0f)));
    }
  }

  void add_to(MemoryCheckpoint& out, bool misaligned = false) const {
    std::vector<uint32_t> words;
    for (int64_t n = 0; n < rows; ++n) {
      const auto row =
          packed({codes.begin() + n * cols, codes.begin() + (n + 1) * cols}, bits, is_dense);
      words.insert(words.end(), row.begin(), row.end());
    }
    out.add("p.weight_packed",
            Stored::i32,
            {rows, static_cast<int64_t>(words.size()) / rows},
            words,
            misaligned);
    std::vector<uint16_t> halves;
    for (const float scale : scales) halves.push_back(float_to_bf16(scale));
    out.add("p.weight_scale", Stored::bf16, {rows, groups()}, halves, misaligned);
    out.add("p.weight_shape", Stored::i64, {2}, std::vector<int64_t>{rows, cols}, misaligned);
    if (has_zeros) add_zeros(out);
  }

  void add_zeros(MemoryCheckpoint& out) const {
    const int64_t count = BitFields{bits, is_dense}.words_for(rows);
    std::vector<uint32_t> words(static_cast<size_t>(count * groups()));
    for (int64_t g = 0; g < groups(); ++g) {
      std::vector<int> column;
      for (int64_t n = 0; n < rows; ++n)
        column.push_back(zeros[static_cast<size_t>(n * groups() + g)]);
      const std::vector<uint32_t> down = packed(column, bits, is_dense);
      for (int64_t w = 0; w < count; ++w)
        words[static_cast<size_t>(w * groups() + g)] = down[static_cast<size_t>(w)];
    }
    out.add("p.weight_zero_point", Stored::i32, {count, groups()}, words);
  }

  std::vector<float> values() const {
    std::vector<float> out;
    for (int64_t n = 0; n < rows; ++n)
      for (int64_t k = 0; k < cols; ++k) {
        const auto block = static_cast<size_t>(n * groups() + group_of(k));
        out.push_back(static_cast<float>(codes[static_cast<size_t>(n * cols + k)] - zeros[block]) *
                      scales[block]);
      }
    return out;
  }

  std::string stated() const {
    return config(format(R"({{"num_bits": {}, "type": "int", "strategy": "{}", "group_size": {}}})",
                         bits,
                         group == 0 ? "channel" : "group",
                         group == 0 ? -1 : group));
  }
};

void expect_reads(RandomLayer layer, bool misaligned = false) {
  layer.fill();
  MemoryCheckpoint checkpoint(layer.stated());
  layer.add_to(checkpoint, misaligned);
  const QuantMatrix w = read_layer(*checkpoint, "p");
  EXPECT_EQ(w.code_bits, layer.bits);
  EXPECT_EQ(w.scales.dtype(), DType::bf16);
  EXPECT_EQ(values_of(w), layer.values());
  expect_parts_equal_whole(*checkpoint, "p", 1);
  expect_parts_equal_whole(*checkpoint, "p", 4);
}

// One row of `words` as read.
std::vector<float> row_of(int bits, std::vector<uint32_t> words, int64_t cols) {
  MemoryCheckpoint checkpoint(config(format(R"({{"num_bits": {}, "strategy": "tensor"}})", bits)));
  checkpoint.add("p.weight_packed", Stored::i32, {1, static_cast<int64_t>(words.size())}, words);
  checkpoint.add("p.weight_scale", Stored::f32, {1}, std::vector<float>{1});
  checkpoint.add(
      "p.weight_shape", Stored::i32, {2}, std::vector<int32_t>{1, static_cast<int32_t>(cols)});
  return values_of(read_layer(*checkpoint, "p"));
}

TEST(PackQuantized, PublishedWords) {
  EXPECT_THAT(row_of(4, {0xAD7908F5}, 8), ElementsAre(-3, 7, 0, -8, 1, -1, 5, 2));
  EXPECT_THAT(row_of(4, {0x76543210}, 8), ElementsAre(-8, -7, -6, -5, -4, -3, -2, -1));
  EXPECT_THAT(row_of(4, {0x88888888}, 8), testing::Each(0));
  EXPECT_THAT(row_of(8, {0xFF807F00}, 4), ElementsAre(-128, -1, 0, 127));
  // Ten codes of three bits in the older, aligned packing, and five more; the ramp 0..7 less 4.
  EXPECT_THAT(row_of(3, {0x08FAC688, 0x08FAC688, 0x08FAC688, 0x08FAC688}, 40),
              testing::Contains(3).Times(4));
}

TEST(PackQuantized, EveryWidthBothWays) {
  for (int bits = 2; bits <= 8; ++bits)
    for (const bool is_dense : {true, false}) {
      SCOPED_TRACE(format("{} bits, dense {}", bits, is_dense));
      expect_reads({.bits = bits, .is_dense = is_dense});
      expect_reads({.bits = bits, .rows = 3, .cols = 200, .group = 0, .is_dense = is_dense});
    }
}

TEST(PackQuantized, ZeroPointsArePackedAlongN) {
  for (const int bits : {3, 4, 8}) {
    SCOPED_TRACE(bits);
    expect_reads({.bits = bits, .rows = 21, .has_zeros = true});
    expect_reads({.bits = bits, .rows = 34, .group = 0, .has_zeros = true});
  }
}

TEST(PackQuantized, RowsMayEndInsideAWordAndInsideAGroup) {
  expect_reads({.cols = 100, .group = 32});
  expect_reads({.rows = 1, .cols = 3, .group = 0});
  expect_reads({.cols = 90, .group = 9});  // groups that begin inside words
}

TEST(PackQuantized, BytesMayLieAnywhere) {
  expect_reads({}, true);
  expect_reads({.bits = 8}, true);
}

TEST(PackQuantized, ZeroPointsOfATensorAreBytes) {
  MemoryCheckpoint checkpoint(config(R"({"num_bits": 4, "strategy": "tensor"})"));
  checkpoint.add("p.weight_packed", Stored::i32, {1, 1}, std::vector<uint32_t>{0x88888888});
  checkpoint.add("p.weight_scale", Stored::f32, {1}, std::vector<float>{0.5f});
  checkpoint.add("p.weight_zero_point", Stored::i8, {1}, std::vector<int8_t>{-3});
  EXPECT_THAT(values_of(read_layer(*checkpoint, "p")), testing::Each(1.5f));
}

// Columns in the order of their groups: 1 0 1 0 ….
RandomLayer with_order(MemoryCheckpoint& checkpoint, const std::vector<int32_t>& g_idx) {
  RandomLayer layer{.cols = 8, .group = 4};
  layer.fill();
  layer.add_to(checkpoint);
  checkpoint.add("p.weight_g_idx", Stored::i32, {static_cast<int64_t>(g_idx.size())}, g_idx);
  return layer;
}

TEST(PackQuantized, GroupsMayBeOutOfOrder) {
  MemoryCheckpoint checkpoint(RandomLayer{.group = 4}.stated());
  const std::vector<int32_t> g_idx = {1, 0, 1, 0, 0, 1, 1, 0};
  const RandomLayer layer = with_order(checkpoint, g_idx);
  const QuantMatrix w = read_layer(*checkpoint, "p");
  EXPECT_THAT(w.column_order, ElementsAre(1, 3, 4, 7, 0, 2, 5, 6));
  EXPECT_EQ(format_of(*checkpoint, "p").granule(*checkpoint, "p").cols, 8);
  std::vector<float> expected;
  for (size_t i = 0; i < 48; ++i)
    expected.push_back(static_cast<float>(layer.codes[i]) *
                       layer.scales[i / 8 * 2 + static_cast<size_t>(g_idx[i % 8])]);
  EXPECT_EQ(values_of(w), expected);
}

TEST(PackQuantized, GroupsInOrderAreNoOrder) {
  for (const auto& g_idx : {std::vector<int32_t>{0, 0, 0, 0, 1, 1, 1, 1},
                            std::vector<int32_t>{-1, -1, -1, -1, -1, -1, -1, -1}}) {
    MemoryCheckpoint checkpoint(RandomLayer{.group = 4}.stated());
    const RandomLayer layer = with_order(checkpoint, g_idx);
    const QuantMatrix w = read_layer(*checkpoint, "p");
    EXPECT_TRUE(w.column_order.empty());
    EXPECT_EQ(values_of(w), layer.values());
  }
}

TEST(PackQuantized, RefusesGroupsThatDoNotFit) {
  const auto refusal_of = [](const std::vector<int32_t>& g_idx) {
    MemoryCheckpoint checkpoint(RandomLayer{.group = 4}.stated());
    with_order(checkpoint, g_idx);
    return refusal(*checkpoint, "p");
  };
  EXPECT_THAT(refusal_of({0, 0, 0, 0, 1, 1, 1, 2}),
              HasSubstr("data_loss: p.weight_g_idx: expected groups 0..1, got 2"));
  EXPECT_THAT(refusal_of({0, 0, 0, 0, 1, 1, 1, -1}), HasSubstr("got -1"));
  EXPECT_THAT(refusal_of({0, 0, 0, 0, 0, 1, 1, 1}),
              HasSubstr("expected 4 columns in group 0, got 5"));
  EXPECT_THAT(refusal_of({0, 1}), HasSubstr("expected i32 [8], got i32 [2]"));
}

// A model on meta is built from shapes: K and the order of columns are then told by the config.
TEST(PackQuantized, ShapesAloneSuffice) {
  for (const bool is_ordered : {false, true}) {
    const std::string text = config(format(R"({{"num_bits": 4, "group_size": 32, "actorder": {}}})",
                                           is_ordered ? R"("group")" : "null"));
    std::vector<TensorInfo> infos = {{"p.weight_packed", Stored::i32, {6, 12}, {}},
                                     {"p.weight_scale", Stored::bf16, {6, 3}, {}},
                                     {"p.weight_shape", Stored::i64, {2}, {}},
                                     {"p.weight_zero_point", Stored::i32, {1, 3}, {}}};
    if (is_ordered) infos.push_back({"p.weight_g_idx", Stored::i32, {96}, {}});
    const auto checkpoint = shapes_only_checkpoint(Config::parse(text, "config.json"), infos);
    const WeightFormat& found = format_of(*checkpoint, "p");
    EXPECT_EQ(found.shape(*checkpoint, "p"), (Shape{6, 96}));
    EXPECT_EQ(found.granule(*checkpoint, "p").cols, is_ordered ? 96 : 32);
    const QuantMatrix w = found.read(*checkpoint, "p", {0, 6}, {0, 96}, Device::meta());
    validate(w);
    EXPECT_EQ(w.zeros.shape(), (Shape{6, 3}));
  }
}

TEST(IntQuantized, IsBorrowedFromTheFile) {
  for (const bool has_zeros : {false, true}) {
    MemoryCheckpoint checkpoint;
    checkpoint.add("p.weight", Stored::i8, {2, 3}, std::vector<int8_t>{1, -2, 3, -128, 0, 127});
    checkpoint.add("p.weight_scale", Stored::f32, {2, 1}, std::vector<float>{0.5f, -2});
    checkpoint.add("p.input_scale", Stored::f32, {1}, std::vector<float>{1});
    if (has_zeros)
      checkpoint.add("p.weight_zero_point", Stored::i8, {2, 1}, std::vector<int8_t>{1, -1});
    const QuantMatrix w = read_layer(*checkpoint, "p");
    EXPECT_EQ(static_cast<const void*>(w.codes.raw()), checkpoint->bytes("p.weight").data());
    if (has_zeros)
      EXPECT_THAT(values_of(w), ElementsAre(0, -1.5f, 1, 254, -2, -256));
    else
      EXPECT_THAT(values_of(w), ElementsAre(0.5f, -1, 1.5f, 256, 0, -254));
    expect_parts_equal_whole(*checkpoint, "p", 1);
  }
}

TEST(CompressedTensors, TheFileWinsOverIgnore) {
  RandomLayer layer;
  layer.fill();
  MemoryCheckpoint checkpoint(
      config(R"({"num_bits": 8, "group_size": 64})", R"(, "ignore": ["p"])"));
  layer.add_to(checkpoint);
  testing::internal::CaptureStderr();
  EXPECT_EQ(values_of(read_layer(*checkpoint, "p")), layer.values());
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("module=p "), HasSubstr("quantized in the file, excluded")));
}

TEST(CompressedTensors, TheFileWinsOverTargets) {
  MemoryCheckpoint checkpoint(config(R"({"num_bits": 4, "group_size": 32})"));
  checkpoint.add("p.weight", Stored::f32, {1, 2}, std::vector<float>{1, 2});
  testing::internal::CaptureStderr();
  EXPECT_THAT(values_of(read_layer(*checkpoint, "p")), ElementsAre(1, 2));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("plain in the file, quantized by"));
}

TEST(CompressedTensors, RefusesWhatConfigurationContradicts) {
  RandomLayer layer;
  layer.fill();
  const auto refusal_under = [&](std::string_view weights) {
    MemoryCheckpoint checkpoint(config(weights));
    layer.add_to(checkpoint);
    return refusal(*checkpoint, "p");
  };
  EXPECT_THAT(
      refusal_under(R"({"num_bits": 8, "group_size": 32})"),
      HasSubstr(
          "data_loss: p.weight_packed: expected [N, 24] for 96 columns of 8 bits, got [N, 12]"));
  EXPECT_THAT(refusal_under(R"({"num_bits": 4, "group_size": 48})"),
              HasSubstr("data_loss: p.weight_scale: expected [6, 2], one number for each 1 x 48"));
  EXPECT_THAT(refusal_under(R"({"num_bits": 4, "strategy": "channel"})"),
              HasSubstr("expected [6, 1], one number for each 1 x all"));
  EXPECT_THAT(refusal_under(R"({"num_bits": 16})"), HasSubstr("unsupported: p: codes of 16 bits"));
}

TEST(CompressedTensors, RefusesOtherFormatsByName) {
  const auto refusal_of = [](std::string_view name) {
    MemoryCheckpoint checkpoint(format(
        R"({{"compression_config": {{"quant_method": "compressed-tensors", "format": "{}",
            "config_groups": {{"g": {{"targets": ["Linear"], "weights": {{"num_bits": 8}}}}}}}}}})",
        name));
    checkpoint.add("p.weight", Stored::i8, {1, 1}, std::vector<int8_t>{1});
    checkpoint.add("p.weight_scale", Stored::f32, {1}, std::vector<float>{1});
    return refusal(*checkpoint, "p");
  };
  for (const char* name : {"marlin-24",
                           "sparse-bitmask",
                           "sparse-24-bitmask",
                           "mxfp8-quantized",
                           "mxfp6-pack-quantized"})
    EXPECT_THAT(
        refusal_of(name),
        HasSubstr(format("unsupported: p: config.json: compression_config: format {}", name)));
  EXPECT_EQ(refusal_of("naive-quantized"), "read");
  MemoryCheckpoint sparse;
  sparse.add("p.bitmask", Stored::u8, {1}, std::vector<uint8_t>{1});
  EXPECT_THAT(refusal(*sparse, "p"), HasSubstr("unsupported: p: stored as sparse-bitmask"));
}

// The layer with one tensor replaced.
template <typename T>
std::string refusal_with(const std::string& part,
                         Stored stored,
                         const Shape& shape,
                         const std::vector<T>& values) {
  RandomLayer layer{.has_zeros = true};
  layer.fill();
  MemoryCheckpoint good(layer.stated()), bad(layer.stated());
  layer.add_to(good);
  for (const std::string& name : good->names()) {
    const auto bytes = good->bytes(name);
    if (name != part)
      bad.add(name,
              good->info(name).stored,
              good->info(name).shape,
              std::vector<std::byte>(bytes.begin(), bytes.end()));
  }
  if (!values.empty()) bad.add(part, stored, shape, values);
  return refusal(*bad, "p");
}

TEST(CompressedTensors, NamesTheTensorThatIsWrong) {
  const std::vector<float> scales(18, std::numeric_limits<float>::quiet_NaN());
  EXPECT_THAT(refusal_with("p.weight_scale", Stored::f32, {6, 3}, std::vector<float>{}),
              HasSubstr("data_loss: p.weight_scale: expected beside p.weight_packed"));
  EXPECT_THAT(refusal_with("p.weight_scale", Stored::f32, {6, 3}, scales),
              HasSubstr("data_loss: p.weight_scale: expected finite scales"));
  EXPECT_THAT(refusal_with("p.weight_scale", Stored::i32, {6, 3}, std::vector<int32_t>(18)),
              HasSubstr("unsupported: p.weight_scale: stored as i32"));
  EXPECT_THAT(refusal_with("p.weight_scale", Stored::f32, {6, 2}, std::vector<float>(12)),
              HasSubstr("data_loss: p.weight_scale: expected [6, 3]"));
  EXPECT_THAT(refusal_with("p.weight_shape", Stored::i64, {2}, std::vector<int64_t>{6, 95}),
              HasSubstr("read"));  // 95 codes take as many words
  EXPECT_THAT(refusal_with("p.weight_shape", Stored::i64, {2}, std::vector<int64_t>{6, 88}),
              HasSubstr("data_loss: p.weight_packed: expected [N, 11]"));
  EXPECT_THAT(refusal_with("p.weight_shape", Stored::i64, {2}, std::vector<int64_t>{7, 96}),
              HasSubstr("data_loss: p.weight_shape: expected [6, K]"));
  EXPECT_THAT(refusal_with("p.weight_shape", Stored::i64, {2}, std::vector<int64_t>{6, -96}),
              HasSubstr("data_loss: p.weight_shape"));
  EXPECT_THAT(refusal_with("p.weight_shape", Stored::f32, {2}, std::vector<float>{6, 96}),
              HasSubstr("expected two whole numbers, got f32 [2]"));
  EXPECT_THAT(refusal_with("p.weight_zero_point", Stored::i32, {2, 3}, std::vector<int32_t>(6)),
              HasSubstr("data_loss: p.weight_zero_point: expected [1, 3], packed along N"));
  EXPECT_THAT(refusal_with("p.weight_zero_point", Stored::i8, {6, 2}, std::vector<int8_t>(12)),
              HasSubstr("data_loss: p.weight_zero_point: expected [6, 3]"));
  EXPECT_THAT(refusal_with("p.weight_zero_point", Stored::f32, {6, 3}, std::vector<float>(18)),
              HasSubstr("unsupported: p.weight_zero_point: stored as f32"));
  EXPECT_THAT(refusal_with("p.weight_packed", Stored::i32, {1, 6, 12}, std::vector<int32_t>(72)),
              HasSubstr("unsupported: p.weight_packed: expected a matrix"));
}

}  // namespace
}  // namespace quern
