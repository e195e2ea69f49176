// SPDX-License-Identifier: Apache-2.0
// Weights stored as the floats that they are. Whole aligned rows are borrowed from the mapping,
// never copied.
#include <cstring>

#include "base/error.h"
#include "weights/formats/compressed_targets.h"
#include "weights/formats/formats.h"
#include "weights/formats/qweight.h"
#include "weights/stored.h"

namespace quern {
namespace {

// Copies rows x cols; the mapping may hold them unaligned or in another row order.
Tensor copy_range(const TensorInfo& info,
                  std::span<const std::byte> bytes,
                  Range rows,
                  Range cols) {
  const DType dtype = *dtype_of(info.stored);
  const int64_t item = bits_of(dtype) / 8;
  const int64_t stride = matrix_shape(info)[1] * item;
  Tensor out = Tensor::empty({rows.size(), cols.size()}, dtype);
  if (out.numel() == 0) return out;
  const auto row_bytes = static_cast<size_t>(cols.size() * item);
  for (int64_t r = 0; r < rows.size(); ++r)
    std::memcpy(out.raw() + r * cols.size() * item,
                bytes.data() + stored_row(info, rows.begin + r) * stride + cols.begin * item,
                row_bytes);
  return out;
}

class PlainFormat final : public WeightFormat {
 public:
  std::string_view name() const override { return "plain"; }

  bool accepts(const Checkpoint& checkpoint, std::string_view prefix) const override {
    const TensorInfo* info = find_matrix(checkpoint, prefix);
    if (info == nullptr) return false;
    switch (info->stored) {
      case Stored::f64:
      case Stored::f32:
      case Stored::f16:
      case Stored::bf16:
        return true;
      default:
        return false;
    }
  }

  Shape shape(const Checkpoint& checkpoint, std::string_view prefix) const override {
    return matrix_shape(weight_under(checkpoint, prefix));
  }

  Granule granule(const Checkpoint&, std::string_view) const override { return {1, 1}; }

  QuantMatrix read(const Checkpoint& checkpoint,
                   std::string_view prefix,
                   Range rows,
                   Range cols,
                   Device device) const override {
    const TensorInfo& info = weight_to_read(checkpoint, prefix, rows, cols, {1, 1});
    if (rows.begin == 0 && cols.begin == 0 && info.shape.rank() == 2) {  // once a layer
      warn_if_stated_quantized(checkpoint, prefix);
      warn_if_awq_lists_it(checkpoint.quantization(), prefix);
    }
    QuantMatrix out;
    out.code_bits = info.stored == Stored::f64 ? 32 : bits_of(*dtype_of(info.stored));
    if (device.is_meta()) {
      const DType dtype = info.stored == Stored::f64 ? DType::f32 : *dtype_of(info.stored);
      out.codes = Tensor::empty({rows.size(), cols.size()}, dtype, device);
      return out;
    }
    out.codes = read_codes(info, checkpoint.bytes(info.name), rows, cols);
    return out;
  }

 private:
  static Tensor read_codes(const TensorInfo& info,
                           std::span<const std::byte> bytes,
                           Range rows,
                           Range cols) {
    const DType dtype = *dtype_of(info.stored);
    const int64_t item = bits_of(dtype) / 8;
    const bool whole_rows = cols.size() == matrix_shape(info)[1] && info.row_order.empty();
    const std::byte* first = bytes.data() + rows.begin * cols.size() * item;
    if (info.stored == Stored::f64) return to_f32(copy_range(info, bytes, rows, cols));
    if (!whole_rows || reinterpret_cast<uintptr_t>(first) % static_cast<size_t>(item) != 0)
      return copy_range(info, bytes, rows, cols);
    return Tensor::borrow(first, {rows.size(), cols.size()}, dtype);
  }
};

}  // namespace

const WeightFormat& plain_format() {
  static const PlainFormat format;
  return format;
}

}  // namespace quern
