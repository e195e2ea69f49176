// SPDX-License-Identifier: Apache-2.0
// Weights of 8-bit floats, e4m3 (without infinities) or e5m2, and their scales. Under a prefix:
//
//   weight            e4m3 or e5m2 [N, K]
//   weight_scale_inv  [ceil(N / 128), ceil(K / 128)] or as weight_block_size says: DeepSeek's name;
//                     multiplied in spite of it
//   weight_scale      one for all [] or [1], a row [N] or [N, 1], a group or a block: the name of
//                     compressed-tensors, FBGEMM, ModelOpt and of fp8 without blocks
//
//   w = float(weight) * scale, one rounding
//
// input_scale (one number, of static activation quantization) is not used: activations keep their
// own type. Sources: the DeepSeek-V3 report, section 3.3; the checkpoints of these tools.
#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "weights/formats/compressed_targets.h"
#include "weights/formats/formats.h"
#include "weights/formats/scale_grid.h"
#include "weights/stored.h"

namespace quern {
namespace {

constexpr int64_t kMaxBlock = int64_t{1} << 31;

struct Layer {
  const TensorInfo* weight = nullptr;
  ScaleGrid scales;
};

// What is stated of the blocks under one scale.
std::optional<BlockSize> stated_block(const Checkpoint& checkpoint, std::string_view prefix) {
  if (const CompressedScheme* scheme = compressed_scheme(checkpoint, prefix)) return scheme->block;
  const Config& fields = checkpoint.quantization().fields();
  if (!fields.has("weight_block_size")) return std::nullopt;
  const std::vector<int64_t> sizes = fields.integers("weight_block_size");
  if (sizes.size() != 2 || std::ranges::min(sizes) < 1 || std::ranges::max(sizes) > kMaxBlock)
    fail(ErrorCode::data_loss,
         "{}: key weight_block_size: expected two positive sizes, got [{}]",
         fields.path(),
         fmt::join(sizes, ", "));
  return BlockSize{sizes[0], sizes[1]};
}

Layer layer_of(const Checkpoint& checkpoint, std::string_view prefix) {
  Layer layer;
  layer.weight = &checkpoint.info(format("{}.weight", prefix));
  if (layer.weight->shape.rank() != 2)
    fail(ErrorCode::unsupported,
         "{}: expected a matrix, got {}: experts that are stacked in one tensor are not read here",
         layer.weight->name,
         layer.weight->shape.text());
  const std::string block_scale = format("{}.weight_scale_inv", prefix);
  const std::string scale =
      checkpoint.has(block_scale) ? block_scale : format("{}.weight_scale", prefix);
  sibling(checkpoint, scale, layer.weight->name);
  layer.scales =
      scale_grid(checkpoint, scale, layer.weight->shape, stated_block(checkpoint, prefix));
  return layer;
}

void note_once(const Checkpoint& checkpoint, std::string_view prefix) {
  warn_if_stated_plain(checkpoint, prefix);
  if (checkpoint.has(format("{}.input_scale", prefix)))
    log(LogLevel::debug,
        "weights module={} event=\"input_scale is not used: activations keep their own type\"",
        prefix);
}

class Fp8Format final : public WeightFormat {
 public:
  std::string_view name() const override { return "fp8"; }

  bool accepts(const Checkpoint& checkpoint, std::string_view prefix) const override {
    const TensorInfo* weight = find_matrix(checkpoint, prefix);
    return weight != nullptr &&
           (weight->stored == Stored::f8_e4m3 || weight->stored == Stored::f8_e5m2);
  }

  Shape shape(const Checkpoint& checkpoint, std::string_view prefix) const override {
    return layer_of(checkpoint, prefix).weight->shape;
  }

  // Rows may be cut anywhere: a block's scale is then repeated.
  Granule granule(const Checkpoint& checkpoint, std::string_view prefix) const override {
    return {1, std::max<int64_t>(layer_of(checkpoint, prefix).scales.block.cols, 1)};
  }

  QuantMatrix read(const Checkpoint& checkpoint,
                   std::string_view prefix,
                   Range rows,
                   Range cols,
                   Device device) const override {
    const Layer layer = layer_of(checkpoint, prefix);
    const Part part{rows, cols, device};
    const BlockSize& block = layer.scales.block;
    check_ranges(layer.weight->shape, rows, cols, {1, std::max<int64_t>(block.cols, 1)});
    if (rows.begin == 0 && cols.begin == 0) note_once(checkpoint, prefix);
    QuantMatrix w;
    w.codes =
        read_byte_matrix(checkpoint, layer.weight->name, *dtype_of(layer.weight->stored), part);
    w.block_rows = rows_per_line(block, rows.begin);
    w.block_cols = block.cols;
    w.scales = read_scales(checkpoint, layer.scales, part);
    return w;
  }
};

}  // namespace

const WeightFormat& fp8_format() {
  static const Fp8Format format;
  return format;
}

}  // namespace quern
