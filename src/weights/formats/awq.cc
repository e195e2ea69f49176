// SPDX-License-Identifier: Apache-2.0
// AWQ of 4 bits, as AutoAWQ saves it in three versions:
//
//   gemm       qweight i32 [K, N/8]    qzeros i32 [G, N/8]    scales f16 [G, N]
//              output 8c + {0, 2, 4, 6, 1, 3, 5, 7}[i] lies in nibble i of word c
//   gemv       qweight i32 [N, K/8]    qzeros i32 [N, zw]     scales f16 [N, 8 zw]
//              plain order along K; zw words hold a zero point for each group, padded
//   gemv_fast  qweight i16 [N/4, K]    qzeros f16 [8 zw, N]   scales f16 [8 zw, N]
//              four rows and 64 columns at a time (below); qzeros holds -z scale, rounded
//
//   w[n, k] = scales[k / g, n] (q - z)
//
// Without zero_point, z is 8 and qzeros holds nothing. Source: WQLinear_GEMM, _GEMV and _GEMVFast
// of AutoAWQ 0.2.9.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/log.h"
#include "weights/formats/formats.h"
#include "weights/formats/packed_words.h"
#include "weights/formats/qweight.h"
#include "weights/stored.h"

namespace quern {
namespace {

constexpr uint8_t kMiddle = 8;
constexpr int64_t kFastRows = 4, kFastCols = 64;

struct Layer {
  QweightTensors tensors;
  QweightLayout layout;
  int64_t n = 0, k = 0;
  Groups groups;
  bool is_symmetric = false;
};

void expect_stated(const QuantizationConfig& config,
                   const ModuleScheme& scheme,
                   std::string_view prefix) {
  refuse_runtime_layouts(config, prefix);
  if (scheme.bits && *scheme.bits != 4)
    fail(ErrorCode::unsupported,
         "{}: AWQ of {} bits by quantization_config: this build reads 4; AutoAWQ writes no other",
         prefix,
         *scheme.bits);
  if (config.method() != "awq") return;
  const std::string version = config.version();
  if (!version.empty() && version != "gemm" && version != "gemv" && version != "gemv_fast")
    fail(ErrorCode::unsupported,
         "{}: {}: AWQ version {}: this build reads gemm, gemv and gemv_fast",
         prefix,
         config.fields().path(),
         version);
}

// The padded words of zero points of a row: whole words, by twos or fours for small groups.
int64_t zero_words(const Groups& groups) {
  const int64_t step = groups.size >= 128 ? 1 : groups.size >= 64 ? 2 : 4;
  return ((groups.count - 1) / 8 / step + 1) * step;
}

// gemv and gemv_fast pad their groups, so that only the config tells how many there are.
Groups stated_groups(const Layer& layer, const ModuleScheme& scheme) {
  if (!scheme.group_size)
    fail(ErrorCode::data_loss,
         "{}: group_size is missing: the files of this AWQ version do not tell it; add it to "
         "quantization_config",
         layer.tensors.prefix());
  const int64_t size = *scheme.group_size == -1 ? layer.k : std::min(*scheme.group_size, layer.k);
  return {size, (layer.k - 1) / size + 1};
}

void open_gemm(Layer& layer, const ModuleScheme& scheme) {
  const QweightTensors& t = layer.tensors;
  const Shape& words = t.info("qweight", "i32", 2).shape;
  const int64_t groups = t.info("scales", "float", 2).shape[0];
  layer.n = 8 * words[1];
  layer.k = words[0];
  t.expect_shape("scales", {groups, layer.n}, "qweight");
  layer.groups = groups_of(t.prefix(), layer.k, groups, scheme);
  if (layer.is_symmetric) return;
  (void)t.info("qzeros", "i32", 2);
  t.expect_shape("qzeros", {groups, words[1]}, "scales");
}

void open_gemv(Layer& layer, const ModuleScheme& scheme) {
  const QweightTensors& t = layer.tensors;
  const Shape& words = t.info("qweight", "i32", 2).shape;
  layer.n = words[0];
  layer.k = 8 * words[1];
  layer.groups = stated_groups(layer, scheme);
  const int64_t zeros = zero_words(layer.groups);
  (void)t.info("scales", "float", 2);
  t.expect_shape("scales", {layer.n, 8 * zeros}, "qweight and group_size");
  if (layer.is_symmetric) return;
  (void)t.info("qzeros", "i32", 2);
  t.expect_shape("qzeros", {layer.n, zeros}, "qweight and group_size");
}

void open_fast(Layer& layer, const ModuleScheme& scheme) {
  const QweightTensors& t = layer.tensors;
  const Shape& words = t.info("qweight", "i16", 2).shape;
  layer.n = kFastRows * words[0];
  layer.k = words[1];
  if (layer.k % kFastCols != 0)
    fail(ErrorCode::data_loss,
         "{}: expected K by {}s, as gemv_fast interleaves it, got {}",
         t.name_of("qweight"),
         kFastCols,
         words.text());
  layer.groups = stated_groups(layer, scheme);
  const Shape grid = {8 * zero_words(layer.groups), layer.n};
  for (const char* part : {"scales", "qzeros"}) {
    (void)t.info(part, "float", 2);
    t.expect_shape(part, grid, "qweight and group_size");
  }
}

Layer open(const Checkpoint& checkpoint, std::string_view prefix) {
  const QuantizationConfig& config = checkpoint.quantization();
  const ModuleScheme scheme = config.scheme_of(prefix);
  expect_stated(config, scheme, prefix);
  Layer out{.tensors = QweightTensors(checkpoint, prefix),
            .layout = qweight_layout(checkpoint, prefix),
            .groups = {}};
  out.is_symmetric = scheme.symmetric.value_or(!out.tensors.has("qzeros"));
  if (out.layout == QweightLayout::awq_gemv)
    open_gemv(out, scheme);
  else if (out.layout == QweightLayout::awq_fast)
    open_fast(out, scheme);
  else
    open_gemm(out, scheme);
  return out;
}

Granule granule_of(const Layer& layer) {
  const bool is_one_group = layer.groups.count == 1;
  const int64_t size = is_one_group ? 1 : layer.groups.size;
  switch (layer.layout) {
    case QweightLayout::awq_gemv:
      return {1, std::lcm(size, int64_t{8})};
    case QweightLayout::awq_fast:
      return {kFastRows, std::lcm(size, kFastCols)};
    default:
      return {8, size};
  }
}

// 64 words of a block of gemv_fast: word j holds, of row j / 16, the columns p = 4 (j % 16) + i in
// nibble i; p counts through each 32 columns in the order 8 t + 2 a + h with a slowest, then h,
// then t.
constexpr std::array<uint8_t, kFastCols> fast_columns() {
  std::array<uint8_t, kFastCols> out{};
  for (size_t p = 0; p < out.size(); ++p) {
    const size_t a = p % 32 / 8, h = p % 8 / 4, t = p % 4;
    out[p] = static_cast<uint8_t>(p / 32 * 32 + 8 * t + 2 * a + h);
  }
  return out;
}
constexpr std::array<uint8_t, kFastCols> kFastColumn = fast_columns();

// words [rows / 4, K] to codes [rows, cols].
void unpack_fast(uint8_t offset, const Tensor& words, Range rows, Range cols, const Tensor& codes) {
  for (int64_t block = rows.begin / kFastRows; block * kFastRows < rows.end; ++block)
    for (int64_t k = cols.begin; k < cols.end; k += kFastCols) {
      const uint16_t* in = words.data<uint16_t>() + block * words.dim(1) + k;
      uint8_t* out =
          codes.data<uint8_t>() + (block * kFastRows - rows.begin) * cols.size() + k - cols.begin;
      for (int64_t p = 0; p < kFastRows * kFastCols; ++p)
        out[p / kFastCols * cols.size() + kFastColumn[static_cast<size_t>(p % kFastCols)]] =
            static_cast<uint8_t>((in[p / 4] >> (4 * (p % 4)) & 15) - offset);
    }
}

// gemv_fast's products as the integers that they were made from. Rounding to f16 moves a product by
// less than a hundredth of the scale; what lies farther from a whole number was made otherwise.
Tensor zeros_from_products(const Layer& layer, const Tensor& scales, Range rows, Range groups) {
  const Tensor products = to_f32(layer.tensors.read("qzeros"));
  const Tensor s = to_f32(scales);
  Tensor out = Tensor::empty({rows.size(), groups.size()}, DType::u8);
  int64_t inexact = 0;
  for (int64_t r = 0; r < rows.size(); ++r)
    for (int64_t g = 0; g < groups.size(); ++g) {
      const int64_t at = r * groups.size() + g;
      const float product = products.data<float>()[(groups.begin + g) * layer.n + rows.begin + r];
      const float scale = s.data<float>()[at];
      const float zero = scale == 0 ? 0.0f : -product / scale;
      const float whole = std::round(zero);
      if (!(0 <= whole && whole <= 15))
        fail(ErrorCode::data_loss,
             "{}: expected -z scale with z in 0..15, got {} for a scale of {} at [{}, {}]",
             layer.tensors.name_of("qzeros"),
             product,
             scale,
             groups.begin + g,
             rows.begin + r);
      inexact += std::abs(zero - whole) > 0.01f;
      out.data<uint8_t>()[at] = static_cast<uint8_t>(whole);
    }
  if (inexact > 0)
    log(LogLevel::warn,
        "weights tensor={} event=\"zero points are not whole: rounded\" groups={} of={}",
        layer.tensors.name_of("qzeros"),
        inexact,
        out.numel());
  return out;
}

Tensor zeros_gemm(const Layer& layer, Range rows, Range groups) {
  const WordTable words = layer.tensors.words("qzeros").slice(groups.begin, groups.end);
  const Tensor out = Tensor::empty({rows.size(), groups.size()}, DType::u8);
  unpack_awq(0, words, {rows.begin / 8, rows.end / 8}, out);
  return out;
}

Tensor zeros_gemv(const Layer& layer, Range rows, Range groups) {
  const WordTable words = layer.tensors.words("qzeros");
  Tensor out = Tensor::empty({rows.size(), groups.size()}, DType::u8);
  std::vector<uint32_t> line(static_cast<size_t>(words.width));
  std::vector<uint8_t> row(8 * line.size());
  for (int64_t r = 0; r < rows.size(); ++r) {
    words.copy(rows.begin + r, {0, words.width}, line.data());
    unpack_words({}, line.data(), words.width, row.data());
    std::copy_n(row.data() + groups.begin, groups.size(), out.data<uint8_t>() + r * groups.size());
  }
  return out;
}

void unpack_gemv(
    uint8_t offset, const WordTable& words, Range rows, Range cols, const Tensor& codes) {
  const Range columns{cols.begin / 8, cols.end / 8};
  std::vector<uint32_t> line(static_cast<size_t>(columns.size()));
  for (int64_t r = 0; r < rows.size(); ++r) {
    words.copy(rows.begin + r, columns, line.data());
    unpack_words(
        {.offset = offset}, line.data(), columns.size(), codes.data<uint8_t>() + r * cols.size());
  }
}

void read_codes(const Layer& layer, Range rows, Range cols, const Tensor& codes) {
  const uint8_t offset = layer.is_symmetric ? kMiddle : 0;
  if (layer.layout == QweightLayout::awq_fast)
    return unpack_fast(offset, layer.tensors.read("qweight"), rows, cols, codes);
  const WordTable words = layer.tensors.words("qweight");
  if (layer.layout == QweightLayout::awq_gemv) return unpack_gemv(offset, words, rows, cols, codes);
  unpack_awq(offset, words.slice(cols.begin, cols.end), {rows.begin / 8, rows.end / 8}, codes);
}

class AwqFormat final : public WeightFormat {
 public:
  std::string_view name() const override { return "awq"; }

  bool accepts(const Checkpoint& checkpoint, std::string_view prefix) const override {
    const QweightLayout layout = qweight_layout(checkpoint, prefix);
    return layout != QweightLayout::none && layout != QweightLayout::gptq;
  }

  Shape shape(const Checkpoint& checkpoint, std::string_view prefix) const override {
    const Layer layer = open(checkpoint, prefix);
    return {layer.n, layer.k};
  }

  Granule granule(const Checkpoint& checkpoint, std::string_view prefix) const override {
    return granule_of(open(checkpoint, prefix));
  }

  QuantMatrix read(const Checkpoint& checkpoint,
                   std::string_view prefix,
                   Range rows,
                   Range cols,
                   Device device) const override {
    const Layer layer = open(checkpoint, prefix);
    check_ranges({layer.n, layer.k}, rows, cols, granule_of(layer));
    const Range groups = layer.groups.of(cols);
    QuantMatrix w;
    w.codes = Tensor::empty(
        {rows.size(), cols.size()}, layer.is_symmetric ? DType::i8 : DType::u8, device);
    w.coding = Coding::integer;
    w.code_bits = 4;
    w.block_cols = layer.groups.count == 1 ? 0 : layer.groups.size;
    w.offset = layer.is_symmetric ? Offset::none : Offset::zero_point;
    if (device.is_meta()) {
      const Shape grid{rows.size(), groups.size()};
      const Stored scales = layer.tensors.info("scales", "float", 2).stored;
      w.scales = Tensor::empty(grid, *dtype_of(scales), device);
      if (!layer.is_symmetric) w.zeros = Tensor::empty(grid, DType::u8, device);
      return w;
    }
    if (rows.begin == 0 && cols.begin == 0)  // once a layer
      warn_of_disagreement(checkpoint.quantization(), prefix, "awq");
    const bool by_row = layer.layout == QweightLayout::awq_gemv;
    w.scales = layer.tensors.scales(
        by_row ? QweightTensors::Order::by_row : QweightTensors::Order::by_group, rows, groups);
    read_codes(layer, rows, cols, w.codes);
    if (!layer.is_symmetric) w.zeros = read_zeros(layer, w.scales, rows, groups);
    return w;
  }

 private:
  static Tensor read_zeros(const Layer& layer, const Tensor& scales, Range rows, Range groups) {
    switch (layer.layout) {
      case QweightLayout::awq_gemv:
        return zeros_gemv(layer, rows, groups);
      case QweightLayout::awq_fast:
        return zeros_from_products(layer, scales, rows, groups);
      default:
        return zeros_gemm(layer, rows, groups);
    }
  }
};

}  // namespace

const WeightFormat& awq_format() {
  static const AwqFormat format;
  return format;
}

}  // namespace quern
