// SPDX-License-Identifier: Apache-2.0
// compressed-tensors, integers. Under a prefix:
//
//   pack-quantized  weight_packed i32 [N, words]   weight_shape [2]   codes along K, offset binary
//   int-quantized   weight i8 [N, K]
//   both            weight_scale, one for all [1], a row [N, 1], a group [N, G] or a block
//                   weight_zero_point, where not symmetric: i8 in the grid of the scales, or
//                   i32 [words, G], packed as the codes are, but along N
//                   weight_g_idx i32 [K], where columns were sorted before grouping
//
//   w = (code - zero) * scale, code and zero signed
//
// Floats of 8 and 4 bits, which the same tool writes, are read by fp8.cc and fp4.cc. Source: the
// compressed-tensors package, compressors/quantized_compressors, versions 0.9.4 and 0.20.0 (their
// packing of 3, 5, 6 and 7 bits differs: shapes tell which it is).
#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "weights/formats/bit_fields.h"
#include "weights/formats/compressed_targets.h"
#include "weights/formats/formats.h"
#include "weights/formats/scale_grid.h"

namespace quern {
namespace {

constexpr int kMinBits = 2, kMaxBits = 8;
constexpr int64_t kMaxCols = int64_t{1} << 40;

struct Layer {
  std::string prefix;
  const CompressedScheme* scheme = nullptr;
  bool is_packed = false;
  BitFields fields{.bits = 8};  // of packed codes
  Shape shape;
  ScaleGrid scales;

  std::string name_of(std::string_view part) const { return format("{}.{}", prefix, part); }
};

// Tensors of compressors that this build does not read.
struct Refused {
  std::string_view part, format;
};
constexpr Refused kRefused[] = {{"scale_packed", "marlin-24"},
                                {"bitmask", "sparse-bitmask or sparse-24-bitmask"}};

const Refused* find_refused(const Checkpoint& checkpoint, std::string_view prefix) {
  for (const Refused& refused : kRefused)
    if (checkpoint.has(format("{}.{}", prefix, refused.part))) return &refused;
  return nullptr;
}

const TensorInfo& matrix_of(const Checkpoint& checkpoint, const std::string& name) {
  const TensorInfo& info = checkpoint.info(name);
  if (info.shape.rank() != 2)
    fail(ErrorCode::unsupported,
         "{}: expected a matrix, got {}: experts that are stacked in one tensor are not read here",
         name,
         info.shape.text());
  return info;
}

// K as weight_shape states it; null without one, or without weights.
std::optional<int64_t> stated_cols(const Checkpoint& checkpoint, const Layer& layer, int64_t rows) {
  const std::string name = layer.name_of("weight_shape");
  if (!checkpoint.has(name)) return std::nullopt;
  Tensor sizes;
  try {
    sizes = read_tensor(checkpoint, name);
  } catch (const Error& e) {
    if (e.code() != ErrorCode::unavailable) throw;
    return std::nullopt;
  }
  const bool is_wide = sizes.dtype() == DType::i64;
  if ((!is_wide && sizes.dtype() != DType::i32) || sizes.numel() != 2)
    fail(ErrorCode::data_loss,
         "{}: expected two whole numbers, got {} {}",
         name,
         name_of(sizes.dtype()),
         sizes.shape().text());
  const int64_t n = is_wide ? sizes.data<int64_t>()[0] : sizes.data<int32_t>()[0];
  const int64_t k = is_wide ? sizes.data<int64_t>()[1] : sizes.data<int32_t>()[1];
  if (n != rows || k < 0 || k > kMaxCols)
    fail(ErrorCode::data_loss,
         "{}: expected [{}, K] as weight_packed has it, got [{}, {}]; was one of them padded or "
         "cut?",
         name,
         rows,
         n,
         k);
  return k;
}

// The widths of which K codes fill that many words.
std::vector<BitFields> fitting_widths(int64_t cols, int64_t words) {
  std::vector<BitFields> out;
  for (int bits = kMinBits; bits <= kMaxBits; ++bits)
    if (const BitFields fields{bits, true}; fields.words_for(cols) == words) out.push_back(fields);
  return out;
}

// How codes lie in weight_packed: bits as stated, else as only one width fits.
BitFields fields_of(const Layer& layer, int64_t cols, int64_t words) {
  if (layer.scheme != nullptr && layer.scheme->bits) {
    const int bits = *layer.scheme->bits;
    if (const auto fields = bit_fields(bits, cols, words)) return *fields;
    fail(ErrorCode::data_loss,
         "{}: expected [N, {}] for {} columns of {} bits, got [N, {}]; file and configuration do "
         "not belong together",
         layer.name_of("weight_packed"),
         BitFields{bits, true}.words_for(cols),
         cols,
         bits,
         words);
  }
  const std::vector<BitFields> fitting = fitting_widths(cols, words);
  if (fitting.size() == 1) return fitting[0];
  fail(ErrorCode::data_loss,
       "{}: {} words for {} columns {} of 2 to 8 bits, and quantization_config states none: add "
       "the module to a group",
       layer.name_of("weight_packed"),
       words,
       cols,
       fitting.empty() ? "fit no code" : "fit codes of several widths");
}

void read_packed_layout(const Checkpoint& checkpoint, Layer& layer) {
  const TensorInfo& packed = matrix_of(checkpoint, layer.name_of("weight_packed"));
  const CompressedScheme* scheme = layer.scheme;
  if (scheme != nullptr &&
      (scheme->bits.value_or(4) < kMinBits || scheme->bits.value_or(4) > kMaxBits))
    fail(ErrorCode::unsupported,
         "{}: codes of {} bits: this build reads {} to {}",
         layer.prefix,
         *scheme->bits,
         kMinBits,
         kMaxBits);
  const int64_t words = packed.shape[1];
  const int64_t full = words * 32 / (scheme != nullptr ? scheme->bits.value_or(4) : 4);
  const int64_t cols = stated_cols(checkpoint, layer, packed.shape[0]).value_or(full);
  layer.fields = fields_of(layer, cols, words);
  layer.shape = {packed.shape[0], cols};
}

Layer layer_of(const Checkpoint& checkpoint, std::string_view prefix) {
  Layer layer;
  layer.prefix = prefix;
  layer.scheme = compressed_scheme(checkpoint, prefix);
  if (const Refused* refused = find_refused(checkpoint, prefix))
    fail(ErrorCode::unsupported,
         "{}: stored as {}: this build does not read it; take the checkpoint it was made from",
         prefix,
         refused->format);
  layer.is_packed = checkpoint.has(layer.name_of("weight_packed"));
  if (layer.is_packed)
    read_packed_layout(checkpoint, layer);
  else
    layer.shape = matrix_of(checkpoint, layer.name_of("weight")).shape;
  const std::string scale = layer.name_of("weight_scale");
  sibling(checkpoint, scale, layer.name_of(layer.is_packed ? "weight_packed" : "weight"));
  layer.scales = scale_grid(
      checkpoint, scale, layer.shape, layer.scheme == nullptr ? std::nullopt : layer.scheme->block);
  return layer;
}

// Codes of a part, one a byte.
Tensor read_packed_codes(const Checkpoint& checkpoint, const Layer& layer, const Part& part) {
  const Tensor codes = Tensor::empty({part.rows.size(), part.cols.size()}, DType::i8, part.device);
  if (part.device.is_meta()) return codes;
  const Tensor packed = read_tensor(checkpoint, layer.name_of("weight_packed"));
  const int64_t words = packed.dim(1), cols = codes.dim(1);
  for (int64_t r = 0; r < codes.dim(0); ++r)
    unpack_fields(layer.fields,
                  packed.data<uint32_t>() + (part.rows.begin + r) * words,
                  part.cols.begin,
                  cols,
                  codes.data<int8_t>() + r * cols);
  return codes;
}

// Zero points that are packed along N: each column of words is a row of fields.
Tensor read_packed_zeros(const Checkpoint& checkpoint, const Layer& layer, const Part& part) {
  const TensorInfo& info = checkpoint.info(layer.name_of("weight_zero_point"));
  const int64_t groups = layer.scales.shape[1];
  const auto fields = info.shape.rank() == 2 && layer.is_packed && layer.scales.block.rows == 1
                          ? bit_fields(layer.fields.bits, layer.shape[0], info.shape[0])
                          : std::nullopt;
  if (!fields || info.shape[1] != groups)
    fail(ErrorCode::data_loss,
         "{}: expected [{}, {}], packed along N for the groups of weight_scale, got {}",
         info.name,
         layer.fields.words_for(layer.shape[0]),
         groups,
         info.shape.text());
  const int64_t size = layer.scales.block.cols;
  const int64_t first = size == 0 ? 0 : part.cols.begin / size;
  const int64_t count = size == 0 ? 1 : (part.cols.size() + size - 1) / size;
  const int64_t rows = part.rows.size();
  Tensor out = Tensor::empty({rows, count}, DType::i8, part.device);
  if (part.device.is_meta()) return out;
  const Tensor packed = read_tensor(checkpoint, info.name);
  std::vector<uint32_t> column(static_cast<size_t>(packed.dim(0)));
  std::vector<int8_t> zeros(static_cast<size_t>(rows));
  for (int64_t g = 0; g < count; ++g) {
    for (size_t w = 0; w < column.size(); ++w)
      column[w] = packed.data<uint32_t>()[static_cast<int64_t>(w) * groups + first + g];
    unpack_fields(*fields, column.data(), part.rows.begin, rows, zeros.data());
    for (int64_t r = 0; r < rows; ++r)
      out.data<int8_t>()[r * count + g] = zeros[static_cast<size_t>(r)];
  }
  return out;
}

Tensor read_zeros(const Checkpoint& checkpoint, const Layer& layer, const Part& part) {
  const TensorInfo& info = checkpoint.info(layer.name_of("weight_zero_point"));
  if (info.stored == Stored::i32) return read_packed_zeros(checkpoint, layer, part);
  if (info.stored != Stored::i8)
    fail(ErrorCode::unsupported,
         "{}: stored as {}: expected i8, or i32 packed along N",
         info.name,
         name_of(info.stored));
  return read_byte_grid(checkpoint,
                        scale_grid(checkpoint, info.name, layer.shape, layer.scales.block),
                        DType::i8,
                        part);
}

// Throws data_loss unless every group holds as many columns as its block of scales.
void expect_whole_groups(const Layer& layer, std::span<const int32_t> groups) {
  const int64_t count = layer.scales.shape[1], size = layer.scales.block.cols;
  std::vector<int64_t> held(static_cast<size_t>(count));
  for (const int32_t group : groups) {
    if (group < 0 || group >= count)
      fail(ErrorCode::data_loss,
           "{}: expected groups 0..{}, got {}",
           layer.name_of("weight_g_idx"),
           count - 1,
           group);
    ++held[static_cast<size_t>(group)];
  }
  for (int64_t g = 0; g < count; ++g)
    if (const int64_t due = std::min(size, layer.shape[1] - g * size);
        held[static_cast<size_t>(g)] != due)
      fail(ErrorCode::data_loss,
           "{}: expected {} columns in group {}, got {}",
           layer.name_of("weight_g_idx"),
           due,
           g,
           held[static_cast<size_t>(g)]);
}

// The input that each column holds once columns are sorted by group; empty where they lie so
// already.
std::vector<int32_t> input_order(const Checkpoint& checkpoint, const Layer& layer) {
  const std::string name = layer.name_of("weight_g_idx");
  if (!checkpoint.has(name) || layer.scales.shape[1] <= 1) return {};
  const TensorInfo& info = checkpoint.info(name);
  if (info.stored != Stored::i32 || info.shape != Shape{layer.shape[1]})
    fail(ErrorCode::data_loss,
         "{}: expected i32 [{}], got {} {}",
         name,
         layer.shape[1],
         quern::name_of(info.stored),
         info.shape.text());
  const Tensor stored = read_tensor(checkpoint, name);
  const auto groups = stored.span<int32_t>();
  if (std::ranges::all_of(groups, [](int32_t g) { return g == -1; })) return {};  // never filled
  expect_whole_groups(layer, groups);
  if (std::ranges::is_sorted(groups)) return {};
  std::vector<int32_t> order(groups.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](int32_t k) { return groups[static_cast<size_t>(k)]; });
  return order;
}

// Without weights the order is not known: the scheme tells whether to expect one.
bool is_reordered(const Checkpoint& checkpoint, const Layer& layer) {
  try {
    return !input_order(checkpoint, layer).empty();
  } catch (const Error& e) {
    if (e.code() != ErrorCode::unavailable) throw;
    return layer.scheme != nullptr && layer.scheme->has_column_order;
  }
}

// out[r, c] = codes[r, order[c]]
Tensor reordered(const Tensor& codes, const std::vector<int32_t>& order) {
  Tensor out = Tensor::empty(codes.shape(), DType::i8);
  const int64_t cols = codes.dim(1);
  for (int64_t r = 0; r < codes.dim(0); ++r) {
    const int8_t* from = codes.data<int8_t>() + r * cols;
    int8_t* to = out.data<int8_t>() + r * cols;
    for (int64_t c = 0; c < cols; ++c) to[c] = from[order[static_cast<size_t>(c)]];
  }
  return out;
}

std::vector<int32_t> order_if_stored(const Checkpoint& checkpoint, const Layer& layer) {
  try {
    return input_order(checkpoint, layer);
  } catch (const Error& e) {
    if (e.code() != ErrorCode::unavailable) throw;
    return {};
  }
}

Granule granule_of(const Layer& layer, bool is_reordered) {
  const int64_t block = std::max<int64_t>(layer.scales.block.cols, 1);
  return is_reordered ? Granule{1, layer.shape[1], block} : Granule{1, block};
}

Tensor read_codes(const Checkpoint& checkpoint, const Layer& layer, const Part& part) {
  return layer.is_packed ? read_packed_codes(checkpoint, layer, part)
                         : read_byte_matrix(checkpoint, layer.name_of("weight"), DType::i8, part);
}

class CompressedTensorsFormat final : public WeightFormat {
 public:
  std::string_view name() const override { return "compressed-tensors"; }

  bool accepts(const Checkpoint& checkpoint, std::string_view prefix) const override {
    if (find_refused(checkpoint, prefix) != nullptr) return true;
    const TensorInfo* packed = checkpoint.find(format("{}.weight_packed", prefix));
    if (packed != nullptr) return packed->stored == Stored::i32;
    const TensorInfo* weight = find_matrix(checkpoint, prefix);
    return weight != nullptr && weight->stored == Stored::i8 &&
           (checkpoint.has(format("{}.weight_scale", prefix)) ||
            checkpoint.quantization().compressed() != nullptr);
  }

  Shape shape(const Checkpoint& checkpoint, std::string_view prefix) const override {
    return layer_of(checkpoint, prefix).shape;
  }

  Granule granule(const Checkpoint& checkpoint, std::string_view prefix) const override {
    const Layer layer = layer_of(checkpoint, prefix);
    return granule_of(layer, is_reordered(checkpoint, layer));
  }

  std::vector<int32_t> column_order(const Checkpoint& checkpoint,
                                    std::string_view prefix) const override {
    return order_if_stored(checkpoint, layer_of(checkpoint, prefix));
  }

  QuantMatrix read(const Checkpoint& checkpoint,
                   std::string_view prefix,
                   Range rows,
                   Range cols,
                   Device device) const override {
    const Layer layer = layer_of(checkpoint, prefix);
    const Part part{rows, cols, device};
    if (rows.begin == 0 && cols.begin == 0) warn_if_stated_plain(checkpoint, prefix);
    QuantMatrix w;
    if (!device.is_meta()) w.column_order = input_order(checkpoint, layer);
    check_ranges(layer.shape, rows, cols, granule_of(layer, !w.column_order.empty()));
    w.coding = Coding::integer;
    w.code_bits = layer.fields.bits;
    w.codes = read_codes(checkpoint, layer, part);
    if (!w.column_order.empty()) w.codes = reordered(w.codes, w.column_order);
    w.block_rows = rows_per_line(layer.scales.block, rows.begin);
    w.block_cols = layer.scales.block.cols;
    w.scales = read_scales(checkpoint, layer.scales, part);
    if (!checkpoint.has(layer.name_of("weight_zero_point"))) return w;
    w.offset = Offset::zero_point;
    w.zeros = read_zeros(checkpoint, layer, part);
    return w;
  }
};

}  // namespace

const WeightFormat& compressed_tensors_format() {
  static const CompressedTensorsFormat format;
  return format;
}

}  // namespace quern
