// SPDX-License-Identifier: Apache-2.0
// Every stored dequantized matrix under tests/golden, exactly: whole, and put together from parts.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "base/file.h"
#include "weights/weight_format.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kField = "dequant.";

// Cases that store a dequantized matrix.
std::vector<std::string> cases() {
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(QUERN_SOURCE_DIR "/tests/golden")) {
    const std::string folder = entry.path().string();
    if (!file_exists(folder + "/config.json") || !file_exists(folder + "/expected.safetensors"))
      continue;
    const std::vector<std::string> names =
        open_checkpoint(folder + "/expected.safetensors")->names();
    if (std::ranges::any_of(names, [](const std::string& n) { return n.starts_with(kField); }))
      out.push_back(entry.path().filename().string());
  }
  std::ranges::sort(out);
  return out;
}

// The layer that a field is of: "dequant.P.weight" or "dequant.P.weight[:48]", its first rows.
std::string layer_of(const std::string& field) {
  const size_t end = field.rfind(".weight");
  return field.substr(kField.size(), end - kField.size());
}

class Dequantized : public testing::TestWithParam<std::string> {
 protected:
  std::string folder_ = QUERN_SOURCE_DIR "/tests/golden/" + GetParam();
  std::unique_ptr<Checkpoint> checkpoint_ = open_checkpoint(folder_);
  std::unique_ptr<Checkpoint> expected_ = open_checkpoint(folder_ + "/expected.safetensors");

  template <typename Body>
  void for_each_field(Body&& body) {
    int count = 0;
    for (const std::string& field : expected_->names()) {
      if (!field.starts_with(kField)) continue;
      SCOPED_TRACE(field);
      body(layer_of(field), read_f32(*expected_, field));
      ++count;
    }
    EXPECT_GT(count, 0);
  }

  QuantMatrix read(const std::string& layer, Range rows, Range cols) const {
    QuantMatrix w =
        format_of(*checkpoint_, layer).read(*checkpoint_, layer, rows, cols, Device::cpu());
    validate(w);
    return w;
  }
};

TEST_P(Dequantized, EqualsTheReference) {
  for_each_field([&](const std::string& layer, const Tensor& expected) {
    const Shape shape = format_of(*checkpoint_, layer).shape(*checkpoint_, layer);
    ASSERT_EQ(shape[1], expected.dim(1));
    const Tensor got = dequantize_rows(
        read(layer, {0, shape[0]}, {0, shape[1]}), 0, std::min(shape[0], expected.dim(0)));
    EXPECT_TRUE(std::ranges::equal(got.span<float>(), expected.span<float>()));
  });
}

TEST_P(Dequantized, PartsEqualTheWhole) {
  for_each_field([&](const std::string& layer, const Tensor&) {
    const WeightFormat& format = format_of(*checkpoint_, layer);
    const Shape shape = format.shape(*checkpoint_, layer);
    const Granule granule = format.granule(*checkpoint_, layer);
    const Tensor whole = dequantize(read(layer, {0, shape[0]}, {0, shape[1]}));
    for (int rank = 0; rank < 3; ++rank) {
      const Range rows = Shard(rank, 3).range(shape[0], granule.rows),
                  cols = Shard(rank, 3).range(shape[1], granule.cols);
      if (rows.is_empty() || cols.is_empty()) continue;
      const Tensor part = dequantize(read(layer, rows, cols));
      for (int64_t r = 0; r < rows.size(); ++r)
        ASSERT_TRUE(std::ranges::equal(
            part.select(0, r).span<float>(),
            whole.select(0, rows.begin + r).slice(0, cols.begin, cols.end).span<float>()))
            << "rank " << rank << " row " << r;
    }
  });
}

TEST_P(Dequantized, MetaHasTheSameShapes) {
  for_each_field([&](const std::string& layer, const Tensor&) {
    const WeightFormat& format = format_of(*checkpoint_, layer);
    const Shape shape = format.shape(*checkpoint_, layer);
    const Range rows{0, shape[0]}, cols{0, shape[1]};
    const QuantMatrix real = read(layer, rows, cols),
                      meta = format.read(*checkpoint_, layer, rows, cols, Device::meta());
    validate(meta);
    EXPECT_TRUE(meta.codes.device().is_meta());
    EXPECT_EQ(meta.codes.shape(), real.codes.shape());
    EXPECT_EQ(meta.codes.dtype(), real.codes.dtype());
    EXPECT_EQ(meta.scales.shape(), real.scales.shape());
    EXPECT_EQ(meta.scales.dtype(), real.scales.dtype());
    EXPECT_EQ(meta.offset, real.offset);
    EXPECT_EQ(meta.zeros.defined(), real.zeros.defined());
  });
}

INSTANTIATE_TEST_SUITE_P(Golden, Dequantized, testing::ValuesIn(cases()), [](const auto& info) {
  return info.param;
});

}  // namespace
}  // namespace quern
