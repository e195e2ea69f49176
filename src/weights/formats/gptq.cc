// SPDX-License-Identifier: Apache-2.0
// GPTQ, as AutoGPTQ, GPTQModel and AutoRound save it:
//
//   qweight i32 [K b/32, N]   codes of b bits along K, lowest bits first
//   qzeros  i32 [G, N b/32]   zero points along N; version 1 stores z - 1, version 2 stores z
//   scales  f16 [G, N]
//   g_idx   i32 [K]           the group of each input; optional
//
//   w[n, k] = scales[g, n] (q - z),   g = g_idx[k]
//
// Version 1 was subtracted from whole words, so a zero point of 0 borrowed from its neighbours:
// only adding to the whole word restores both. Symmetric files never have their qzeros read: z is
// half the range. With desc_act the groups were formed in order of importance and g_idx is
// scattered: columns are then sorted by group, and QuantMatrix says which input each holds. Source:
// pack() and convert_gptq_v1_to_v2_format() of GPTQModel 7.7.
#include <algorithm>
#include <array>
#include <numeric>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "weights/formats/formats.h"
#include "weights/formats/packed_words.h"
#include "weights/formats/qweight.h"
#include "weights/stored.h"

namespace quern {
namespace {

constexpr std::array<int, 4> kWidths = {2, 3, 4, 8};

struct Layer {
  QweightTensors tensors;
  Fields fields;
  int64_t n = 0, k = 0;
  Groups groups;
  bool is_symmetric = false, is_v2 = false, has_order = false;
};

bool is_v2(const QuantizationConfig& config, std::string_view prefix) {
  const std::string stated = config.checkpoint_format();
  if (stated == "gptq_v2") return true;
  if (stated.empty() || stated == "gptq" || config.method() != "gptq") return false;
  fail(
      ErrorCode::unsupported,
      "{}: {}: checkpoint_format {}: this build reads gptq and gptq_v2; save the checkpoint in one "
      "of these",
      prefix,
      config.fields().path(),
      stated);
}

// What `part`, beside which K or N is known, says of the width of a code; data_loss if no width
// fits.
int width_by(const QweightTensors& tensors, std::string_view part, int64_t words, int64_t fields) {
  for (const int bits : kWidths)
    if (words * 32 == fields * bits) return bits;
  for (const int bits : {5, 6, 7})
    if (words * 32 == fields * bits)
      fail(ErrorCode::unsupported,
           "{}: codes of {} bits (gptq_p): this build reads 2, 3, 4 and 8",
           tensors.prefix(),
           bits);
  fail(
      ErrorCode::data_loss,
      "{}: expected words of codes of 2, 3, 4 or 8 bits, got {} words for {} codes; the tensors do "
      "not belong together",
      tensors.name_of(part),
      words,
      fields);
}

// The width of a code, by all that tells it; what is stored and what is stated must agree.
int width_of(const QweightTensors& t, const ModuleScheme& scheme) {
  std::optional<int> stored;
  if (t.has("qzeros"))
    stored = width_by(
        t, "qzeros", t.info("qzeros", "i32", 2).shape[1], t.info("scales", "float", 2).shape[1]);
  else if (t.has("g_idx"))
    stored = width_by(
        t, "qweight", t.info("qweight", "i32", 2).shape[0], t.info("g_idx", "i32", 1).shape[0]);
  if (stored && scheme.bits && *stored != *scheme.bits)
    fail(ErrorCode::data_loss,
         "{}: expected codes of {} bits by quantization_config, got {} by the shapes of {} and "
         "scales; the config is another checkpoint's",
         t.prefix(),
         *scheme.bits,
         *stored,
         t.has("qzeros") ? "qzeros" : "qweight");
  if (stored) return *stored;
  if (!scheme.bits)
    fail(ErrorCode::data_loss,
         "{}: nothing tells the width of a code: add bits to quantization_config",
         t.prefix());
  if (std::ranges::find(kWidths, *scheme.bits) == kWidths.end())
    fail(ErrorCode::unsupported,
         "{}: codes of {} bits: this build reads 2, 3, 4 and 8",
         t.prefix(),
         *scheme.bits);
  return *scheme.bits;
}

Layer open(const Checkpoint& checkpoint, std::string_view prefix) {
  const QuantizationConfig& config = checkpoint.quantization();
  refuse_runtime_layouts(config, prefix);
  const ModuleScheme scheme = config.scheme_of(prefix);
  Layer out{.tensors = QweightTensors(checkpoint, prefix), .fields = {}, .groups = {}};
  const QweightTensors& t = out.tensors;
  const Shape& words = t.info("qweight", "i32", 2).shape;
  const Shape& scales = t.info("scales", "float", 2).shape;
  out.fields.bits = width_of(t, scheme);
  if (words[0] % out.fields.unit_words() != 0)
    fail(ErrorCode::data_loss,
         "{}: expected rows of words by threes for codes of 3 bits, got {}",
         t.name_of("qweight"),
         words.text());
  out.n = words[1];
  out.k = words[0] / out.fields.unit_words() * out.fields.unit();
  t.expect_shape("scales", {scales[0], out.n}, "qweight");
  out.groups = groups_of(prefix, out.k, scales[0], scheme);
  out.is_symmetric = scheme.symmetric.value_or(!t.has("qzeros"));
  out.is_v2 = is_v2(config, prefix);
  if (out.is_symmetric) out.fields.offset = static_cast<uint8_t>(1 << (out.fields.bits - 1));
  if (t.has("qzeros") || !out.is_symmetric) {
    (void)t.info("qzeros", "i32", 2);
    const Shape grid = {scales[0], out.n / out.fields.unit() * out.fields.unit_words()};
    t.expect_shape("qzeros", grid, "scales");
  }
  out.has_order = t.has("g_idx") && scales[0] > 1;
  if (t.has("g_idx")) {
    (void)t.info("g_idx", "i32", 1);
    t.expect_shape("g_idx", {out.k}, "qweight");
  }
  return out;
}

// How many inputs each group has, by g_idx.
std::vector<int64_t> group_sizes(const Layer& layer, std::span<const int32_t> g_idx) {
  std::vector<int64_t> sizes(static_cast<size_t>(layer.groups.count), 0);
  for (size_t k = 0; k < g_idx.size(); ++k) {
    if (g_idx[k] < 0 || g_idx[k] >= layer.groups.count)
      fail(ErrorCode::data_loss,
           "{}: expected groups 0..{}, got {} at {}: the file is damaged",
           layer.tensors.name_of("g_idx"),
           layer.groups.count - 1,
           g_idx[k],
           k);
    ++sizes[static_cast<size_t>(g_idx[k])];
  }
  return sizes;
}

void expect_even(const Layer& layer, const std::vector<int64_t>& sizes) {
  for (int64_t g = 0; g < layer.groups.count; ++g) {
    const int64_t expected = std::min(layer.groups.size, layer.k - g * layer.groups.size);
    if (sizes[static_cast<size_t>(g)] != expected)
      fail(ErrorCode::unsupported,
           "{}: expected {} inputs in group {}, got {}: this build carries groups of one size; was "
           "the file cut along K? Take the checkpoint it was cut from",
           layer.tensors.name_of("g_idx"),
           expected,
           g,
           sizes[static_cast<size_t>(g)]);
  }
}

// The input that each column holds once columns are sorted by group; empty where they lie so
// already.
std::vector<int32_t> input_order(const Layer& layer, bool warns) {
  if (!layer.has_order) return {};
  const Tensor stored = layer.tensors.read("g_idx");
  const auto g_idx = stored.span<int32_t>();
  const std::vector<int64_t> sizes = group_sizes(layer, g_idx);
  if (sizes[0] == layer.k) {  // badly saved: all zero
    if (warns)
      log(LogLevel::warn,
          "weights tensor={} event=\"all zero for {} groups: taken for groups in order\"",
          layer.tensors.name_of("g_idx"),
          layer.groups.count);
    return {};
  }
  expect_even(layer, sizes);
  if (std::ranges::is_sorted(g_idx)) return {};
  std::vector<int64_t> next(sizes.size());
  std::exclusive_scan(sizes.begin(), sizes.end(), next.begin(), int64_t{0});
  std::vector<int32_t> order(g_idx.size());
  for (size_t k = 0; k < g_idx.size(); ++k)
    order[static_cast<size_t>(next[static_cast<size_t>(g_idx[k])]++)] = static_cast<int32_t>(k);
  return order;
}

// Without weights the groups' order is not known: desc_act tells whether to expect one.
bool is_scattered(const Checkpoint& checkpoint, const Layer& layer) {
  if (!layer.has_order) return false;
  try {
    return !input_order(layer, false).empty();
  } catch (const Error& e) {
    if (e.code() != ErrorCode::unavailable) throw;
    return checkpoint.quantization().scheme_of(layer.tensors.prefix()).desc_act.value_or(false);
  }
}

std::vector<int32_t> order_if_stored(const Layer& layer) {
  try {
    return input_order(layer, false);
  } catch (const Error& e) {
    if (e.code() != ErrorCode::unavailable) throw;
    return {};
  }
}

// codes[r, c] = codes[r, order[c]]
void reorder_columns(const Tensor& codes, const std::vector<int32_t>& order) {
  const int64_t cols = codes.dim(1);
  std::vector<uint8_t> row(static_cast<size_t>(cols));
  for (int64_t r = 0; r < codes.dim(0); ++r) {
    uint8_t* out = codes.data<uint8_t>() + r * cols;
    std::copy_n(out, cols, row.data());
    for (size_t c = 0; c < order.size(); ++c) out[c] = row[static_cast<size_t>(order[c])];
  }
}

// What version 1 took from each word. GPTQModel, of 3 bits, takes these three in this order, which
// is not 1 from each field; whoever else packs 3 bits takes 1.
std::array<uint32_t, 3> taken_from_words(int bits, bool is_gptqmodel) {
  switch (bits) {
    case 2:
      return {0x55555555, 0x55555555, 0x55555555};
    case 3:
      if (is_gptqmodel) return {0x24924924, 0x92492492, 0x49249249};
      return {0x49249249, 0x92492492, 0x24924924};
    case 4:
      return {0x11111111, 0x11111111, 0x11111111};
    default:
      return {0x01010101, 0x01010101, 0x01010101};
  }
}

// Reads zero points, and counts words whose upper half is all ones: the oldest writers left such
// behind a zero point of 0, and nothing restores those.
struct ZeroReader {
  const Layer& layer;
  std::array<uint32_t, 3> taken;
  int64_t flooded = 0;

  // [rows, groups]
  Tensor read(Range rows, Range groups) {
    const int64_t unit = layer.fields.unit(), unit_words = layer.fields.unit_words();
    const WordTable stored = layer.tensors.words("qzeros");
    const int64_t first = rows.begin / unit;
    const Range columns{first * unit_words, ((rows.end - 1) / unit + 1) * unit_words};
    std::vector<uint32_t> words(static_cast<size_t>(columns.size()));
    std::vector<uint8_t> fields(static_cast<size_t>(columns.size() / unit_words * unit));
    const Tensor grid = Tensor::empty({groups.size(), rows.size()}, DType::u8);
    for (int64_t g = groups.begin; g < groups.end; ++g) {
      stored.copy(g, columns, words.data());
      restore(columns.begin, words);
      unpack_words({.bits = layer.fields.bits}, words.data(), columns.size(), fields.data());
      std::copy_n(fields.data() + rows.begin - first * unit,
                  rows.size(),
                  grid.data<uint8_t>() + (g - groups.begin) * rows.size());
    }
    return transposed_bytes(grid);
  }

 private:
  // `words` begin at word `begin` of their row.
  void restore(int64_t begin, std::vector<uint32_t>& words) {
    if (layer.is_v2) return;
    for (size_t i = 0; i < words.size(); ++i) {
      flooded += words[i] >> 16 == 0xffff;
      words[i] += taken[(static_cast<size_t>(begin) + i) % 3];
    }
  }
};

std::pair<uint8_t, uint8_t> range_of(const uint8_t* codes, int64_t count) {
  uint8_t low = 255, high = 0;
  for (int64_t i = 0; i < count; ++i) {
    low = std::min(low, codes[i]);
    high = std::max(high, codes[i]);
  }
  return {low, high};
}

// Groups whose zero point, though inside the range of codes, lies beyond every code of the group: a
// quantizer makes no such. Many of them mean that the zero points were not read as they were
// written.
int64_t implausible_groups(const Layer& layer, const QuantMatrix& w) {
  const int64_t cols = w.cols(), block = layer.groups.size;
  const uint8_t most = static_cast<uint8_t>((1 << layer.fields.bits) - 1);
  int64_t count = 0;
  for (int64_t r = 0; r < w.rows(); ++r)
    for (int64_t c = 0; c < cols; c += block) {
      const uint8_t* codes = w.codes.data<uint8_t>() + r * cols + c;
      const auto [low, high] = range_of(codes, std::min(block, cols - c));
      const uint8_t zero = w.zeros.data<uint8_t>()[r * w.zeros.dim(1) + c / block];
      count += 0 < zero && zero < most && (zero < low || high < zero);
    }
  return count;
}

void warn_of_zeros(const Layer& layer, const QuantMatrix& w, int64_t flooded) {
  const int64_t odd = implausible_groups(layer, w);
  if (flooded == 0 && (odd < 8 || 16 * odd <= w.zeros.numel())) return;
  log(LogLevel::warn,
      "weights tensor={} event=\"zero points look wrong\" beyond_their_codes={} flooded_words={} "
      "groups={} hint=\"an old AutoGPTQ may have written them, or checkpoint_format should say "
      "gptq_v2\"",
      layer.tensors.name_of("qzeros"),
      odd,
      flooded,
      w.zeros.numel());
}

class GptqFormat final : public WeightFormat {
 public:
  std::string_view name() const override { return "gptq"; }

  bool accepts(const Checkpoint& checkpoint, std::string_view prefix) const override {
    return qweight_layout(checkpoint, prefix) == QweightLayout::gptq;
  }

  Shape shape(const Checkpoint& checkpoint, std::string_view prefix) const override {
    const Layer layer = open(checkpoint, prefix);
    return {layer.n, layer.k};
  }

  Granule granule(const Checkpoint& checkpoint, std::string_view prefix) const override {
    return granule_of(checkpoint, open(checkpoint, prefix));
  }

  std::vector<int32_t> column_order(const Checkpoint& checkpoint,
                                    std::string_view prefix) const override {
    return order_if_stored(open(checkpoint, prefix));
  }

  QuantMatrix read(const Checkpoint& checkpoint,
                   std::string_view prefix,
                   Range rows,
                   Range cols,
                   Device device) const override {
    const Layer layer = open(checkpoint, prefix);
    check_ranges({layer.n, layer.k}, rows, cols, granule_of(checkpoint, layer));
    const Range groups = layer.groups.of(cols);
    QuantMatrix w;
    w.codes = Tensor::empty(
        {rows.size(), cols.size()}, layer.is_symmetric ? DType::i8 : DType::u8, device);
    w.coding = Coding::integer;
    w.code_bits = layer.fields.bits;
    w.block_cols = layer.groups.count == 1 ? 0 : layer.groups.size;
    w.offset = layer.is_symmetric ? Offset::none : Offset::zero_point;
    if (device.is_meta()) {
      const Shape grid{rows.size(), groups.size()};
      w.scales =
          Tensor::empty(grid, *dtype_of(layer.tensors.info("scales", "float", 2).stored), device);
      if (!layer.is_symmetric) w.zeros = Tensor::empty(grid, DType::u8, device);
      return w;
    }
    const bool warns = rows.begin == 0 && cols.begin == 0;  // once a layer
    if (warns) warn_of_disagreement(checkpoint.quantization(), prefix, "gptq");
    w.scales = layer.tensors.scales(QweightTensors::Order::by_group, rows, groups);
    w.column_order = input_order(layer, warns);
    read_codes(layer, rows, cols, w);
    if (layer.is_symmetric) return w;
    ZeroReader zeros{layer, taken_from_words(layer.fields.bits, is_by_gptqmodel(checkpoint))};
    w.zeros = zeros.read(rows, groups);
    if (warns && !layer.is_v2) warn_of_zeros(layer, w, zeros.flooded);
    return w;
  }

 private:
  static bool is_by_gptqmodel(const Checkpoint& checkpoint) {
    return checkpoint.quantization().quantizer().find("gptqmodel") != std::string::npos;
  }

  static void read_codes(const Layer& layer, Range rows, Range cols, const QuantMatrix& w) {
    const int64_t unit = layer.fields.unit(), words = layer.fields.unit_words();
    const WordTable stored =
        layer.tensors.words("qweight").slice(cols.begin / unit * words, cols.end / unit * words);
    unpack_columns(layer.fields, stored, rows, w.codes);
    if (!w.column_order.empty()) reorder_columns(w.codes, w.column_order);
  }

  static Granule granule_of(const Checkpoint& checkpoint, const Layer& layer) {
    if (layer.groups.count == 1) return {1, layer.fields.unit()};
    if (is_scattered(checkpoint, layer)) return {1, layer.k, layer.groups.size};
    return {1, std::lcm(layer.groups.size, layer.fields.unit())};
  }
};

}  // namespace

const WeightFormat& gptq_format() {
  static const GptqFormat format;
  return format;
}

}  // namespace quern
