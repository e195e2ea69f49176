// SPDX-License-Identifier: Apache-2.0
// Weights of 4-bit floats (e2m1), two to a byte, the earlier column low. Four spellings:
//
//   NVFP4, compressed-tensors  weight_packed u8 [N, K/2]   weight_scale e4m3 [N, K/16]
//                              weight_global_scale f32     w = code * (scale / global)
//   NVFP4, ModelOpt            weight u8 [N, K/2]          weight_scale e4m3 [N, K/16]
//                              weight_scale_2 f32          w = code * (scale * scale_2)
//   MXFP4, compressed-tensors  weight_packed u8 [N, K/2]   weight_scale e8m0 (as u8) [N, K/32]
//   MXFP4, gpt-oss             P_blocks u8 […, N, G, 16]   P_scales e8m0 (as u8) […, N, G]
//                              further axes (experts) are stacked along N
//
// The references divide, or multiply, the two scales first, in float32. A quotient is no product
// with a rounded reciprocal, so the first kind's scales are stored divided, as float32; the second
// kind's stay apart. Both then give the reference's bits. First-level scales of 8 bits are kept as
// bf16, which holds them all. Sources: OCP Microscaling Formats 1.0; the compressed-tensors and
// ModelOpt packages; gpt-oss's published checkpoints.
#include <algorithm>
#include <array>
#include <numeric>

#include "base/error.h"
#include "weights/formats/bit_fields.h"
#include "weights/formats/compressed_targets.h"
#include "weights/formats/formats.h"
#include "weights/formats/scale_grid.h"

namespace quern {
namespace {

constexpr std::array<float, 16> kValues = {
    0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
constexpr int64_t kNvBlock = 16, kMxBlock = 32;

enum class Kind : uint8_t { nv_divided, nv_multiplied, mx, mx_blocks };

struct Spelling {
  Kind kind;
  std::string_view codes, scales, global;  // what follows the prefix
  int64_t block;                           // columns under one scale
};
constexpr Spelling kSpellings[] = {
    {Kind::nv_divided, ".weight_packed", ".weight_scale", ".weight_global_scale", kNvBlock},
    {Kind::mx, ".weight_packed", ".weight_scale", "", kMxBlock},
    {Kind::nv_multiplied, ".weight", ".weight_scale", ".weight_scale_2", kNvBlock},
    {Kind::mx_blocks, "_blocks", "_scales", "", kMxBlock},
};

bool holds_nibbles(const TensorInfo* info) {
  return info != nullptr && (info->stored == Stored::u8 || info->stored == Stored::f4);
}

// A byte tensor alone says little: NVFP4 is told by its second scale, or by first ones of e4m3.
const Spelling* find_spelling(const Checkpoint& checkpoint, std::string_view prefix) {
  for (const Spelling& spelling : kSpellings) {
    if (!holds_nibbles(checkpoint.find(format("{}{}", prefix, spelling.codes)))) continue;
    const TensorInfo* scales = checkpoint.find(format("{}{}", prefix, spelling.scales));
    const bool is_nv = spelling.block == kNvBlock;
    if (is_nv && !checkpoint.has(format("{}{}", prefix, spelling.global)) &&
        (scales == nullptr || scales->stored != Stored::f8_e4m3))
      continue;
    return &spelling;
  }
  return nullptr;
}

struct Layer {
  const Spelling* spelling = nullptr;
  std::string prefix;
  const TensorInfo* codes = nullptr;
  Shape shape;
  ScaleGrid scales;

  std::string name_of(std::string_view part) const { return format("{}{}", prefix, part); }
};

// [N, K] of codes stored [N, K/2] bytes, or [N, K] elements of 4 bits.
Shape shape_of_matrix(const TensorInfo& codes) {
  if (codes.shape.rank() != 2)
    fail(ErrorCode::unsupported,
         "{}: expected a matrix, got {}: experts that are stacked in one tensor are not read here",
         codes.name,
         codes.shape.text());
  return {codes.shape[0], codes.shape[1] * (codes.stored == Stored::f4 ? 1 : 2)};
}

// [N, K] of blocks stored […, N, G, 16].
Shape shape_of_blocks(const TensorInfo& codes, const TensorInfo& scales) {
  const Shape& shape = codes.shape;
  const bool fits = codes.stored == Stored::u8 && shape.rank() >= 3 && shape[-1] == kMxBlock / 2 &&
                    scales.shape.rank() == shape.rank() - 1 &&
                    std::ranges::equal(scales.shape.dims(),
                                       shape.dims().first(static_cast<size_t>(shape.rank() - 1)));
  if (!fits)
    fail(ErrorCode::data_loss,
         "{}: expected u8 [..., N, G, {}] beside {} [..., N, G], got {} {} and {}",
         codes.name,
         kMxBlock / 2,
         scales.name,
         name_of(codes.stored),
         shape.text(),
         scales.shape.text());
  int64_t rows = 1;
  for (int axis = 0; axis < shape.rank() - 2; ++axis) rows *= shape[axis];
  return {rows, shape[-2] * kMxBlock};
}

void expect_scale_type(const Layer& layer, const TensorInfo& scales) {
  const bool is_nv = layer.spelling->block == kNvBlock;
  const bool is_right = is_nv ? scales.stored == Stored::f8_e4m3
                              : scales.stored == Stored::u8 || scales.stored == Stored::f8_e8m0;
  if (!is_right)
    fail(ErrorCode::data_loss,
         "{}: expected {} beside codes of 4-bit floats, got {}",
         scales.name,
         is_nv ? "e4m3" : "e8m0, as u8",
         name_of(scales.stored));
}

Layer layer_of(const Checkpoint& checkpoint, std::string_view prefix) {
  Layer layer;
  layer.spelling = find_spelling(checkpoint, prefix);
  QUERN_CHECK(layer.spelling != nullptr, "{}", prefix);
  layer.prefix = prefix;
  (void)compressed_scheme(checkpoint, prefix);  // refuses formats by name
  layer.codes = &checkpoint.info(layer.name_of(layer.spelling->codes));
  const TensorInfo& scales =
      sibling(checkpoint, layer.name_of(layer.spelling->scales), layer.codes->name);
  expect_scale_type(layer, scales);
  const BlockSize block{1, layer.spelling->block};
  if (layer.spelling->kind == Kind::mx_blocks) {
    layer.shape = shape_of_blocks(*layer.codes, scales);
    layer.scales = {scales.name, block, {layer.shape[0], layer.shape[1] / kMxBlock}};
  } else {
    layer.shape = shape_of_matrix(*layer.codes);
    layer.scales = scale_grid(checkpoint, scales.name, layer.shape, block);
  }
  if (!layer.spelling->global.empty())
    sibling(checkpoint, layer.name_of(layer.spelling->global), layer.codes->name);
  return layer;
}

Tensor read_codes(const Checkpoint& checkpoint, const Layer& layer, const Part& part) {
  const Tensor codes = Tensor::empty({part.rows.size(), part.cols.size()}, DType::u8, part.device);
  if (part.device.is_meta()) return codes;
  const auto* bytes = reinterpret_cast<const uint8_t*>(checkpoint.bytes(layer.codes->name).data());
  const int64_t width = layer.shape[1] / 2, cols = codes.dim(1);
  for (int64_t r = 0; r < codes.dim(0) && cols > 0; ++r)
    unpack_nibble_bytes(bytes + (part.rows.begin + r) * width + part.cols.begin / 2,
                        cols / 2,
                        codes.data<uint8_t>() + r * cols);
  return codes;
}

float global_of(const Checkpoint& checkpoint, const Layer& layer, Device device) {
  return device.is_meta() ? 1.0f : read_scalar(checkpoint, layer.name_of(layer.spelling->global));
}

// The scales of e4m3, each divided by `global` and rounded once.
Tensor read_divided(const Checkpoint& checkpoint, const Layer& layer, const Part& part) {
  const Tensor items = read_byte_grid(checkpoint, layer.scales, DType::u8, part);
  const Tensor out = Tensor::empty(items.shape(), DType::f32, part.device);
  if (part.device.is_meta()) return out;
  const float global = global_of(checkpoint, layer, part.device);
  std::array<uint8_t, 256> codes;
  std::iota(codes.begin(), codes.end(), uint8_t{0});
  const Tensor quotients = to_f32(Tensor::borrow(codes.data(), {256}, DType::f8_e4m3));
  for (float& value : quotients.span<float>()) value /= global;
  const float* table = quotients.data<float>();
  std::ranges::transform(
      items.span<uint8_t>(), out.data<float>(), [=](uint8_t code) { return table[code]; });
  expect_finite(out, format("{} / {}", layer.scales.name, layer.spelling->global.substr(1)));
  return out;
}

Tensor repeated(float value, int64_t rows, Device device) {
  Tensor out = Tensor::empty({rows, 1}, DType::f32, device);
  if (!device.is_meta()) std::ranges::fill(out.span<float>(), value);
  return out;
}

class Fp4Format final : public WeightFormat {
 public:
  std::string_view name() const override { return "fp4"; }

  bool accepts(const Checkpoint& checkpoint, std::string_view prefix) const override {
    return find_spelling(checkpoint, prefix) != nullptr;
  }

  Shape shape(const Checkpoint& checkpoint, std::string_view prefix) const override {
    return layer_of(checkpoint, prefix).shape;
  }

  Granule granule(const Checkpoint& checkpoint, std::string_view prefix) const override {
    return {1, layer_of(checkpoint, prefix).spelling->block};
  }

  QuantMatrix read(const Checkpoint& checkpoint,
                   std::string_view prefix,
                   Range rows,
                   Range cols,
                   Device device) const override {
    const Layer layer = layer_of(checkpoint, prefix);
    const Part part{rows, cols, device};
    check_ranges(layer.shape, rows, cols, {1, layer.spelling->block});
    if (rows.begin == 0 && cols.begin == 0) warn_if_stated_plain(checkpoint, prefix);
    QuantMatrix w;
    w.coding = Coding::table;
    w.code_bits = 4;
    w.table.assign(kValues.begin(), kValues.end());
    w.codes = read_codes(checkpoint, layer, part);
    w.block_cols = layer.spelling->block;
    const bool divides = layer.spelling->kind == Kind::nv_divided;
    w.scales = divides ? read_divided(checkpoint, layer, part)
                       : read_scales(checkpoint, layer.scales, part);
    if (layer.spelling->kind == Kind::nv_multiplied)
      w.super_scales = repeated(global_of(checkpoint, layer, device), rows.size(), device);
    return w;
  }
};

}  // namespace

const WeightFormat& fp4_format() {
  static const Fp4Format format;
  return format;
}

}  // namespace quern
