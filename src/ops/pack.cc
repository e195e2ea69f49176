// SPDX-License-Identifier: Apache-2.0
#include "ops/pack.h"

#include <algorithm>

#include "base/error.h"

namespace quern::ops {
namespace {

int64_t block_or_all(int64_t block, int64_t size) {
  return block > 0 ? block : std::max<int64_t>(size, 1);
}

Tensor widened(const Tensor& grid) {
  return grid.defined() ? to_f32(grid.contiguous()) : Tensor();
}

// The value of a grid at (row block, column block); `super` multiplies it if there is one.
float at(
    const Tensor& grid, const Tensor& super, int64_t row, int64_t column, int64_t super_column) {
  const float value = grid.data<float>()[row * grid.dim(1) + column];
  return super.defined() ? super.data<float>()[row * super.dim(1) + super_column] * value : value;
}

template <typename Code>
void widen(const Code* codes, int64_t stride, int64_t n, float* out) {
  for (int64_t c = 0; c < n; ++c) out[c] = static_cast<float>(codes[c * stride]);
}

}  // namespace

int64_t stacked_rows(const std::vector<QuantMatrix>& parts) {
  int64_t rows = 0;
  for (const QuantMatrix& part : parts) rows += part.rows();
  return rows;
}

DType storage_of(const std::vector<QuantMatrix>& parts, Activation activation) {
  const DType first = parts[0].codes.dtype();
  const bool plain = std::ranges::all_of(parts, [&](const QuantMatrix& part) {
    return part.is_plain() && part.codes.dtype() == first;
  });
  if (plain && (first == DType::bf16 || first == DType::f16)) return first;
  return activation == Activation::f32 || activation == Activation::int8 ? DType::f32 : DType::bf16;
}

DType x_dtype(Activation activation, Isa isa) {
  switch (activation) {
    case Activation::f32:
      return DType::f32;
    case Activation::f16:
      return DType::f16;
    case Activation::bf16:
      return DType::bf16;
    case Activation::int8:
      break;
  }
  return isa >= Isa::avx512_bf16 ? DType::bf16 : DType::f32;
}

RowDecoder::RowDecoder(const QuantMatrix& w)
    : w_(w),
      scales_(widened(w.scales)),
      zeros_(widened(w.zeros)),
      minimums_(widened(w.minimums)),
      super_scales_(widened(w.super_scales)),
      super_minimums_(widened(w.super_minimums)) {
  validate(w);
}

const std::byte* RowDecoder::stored_row(int64_t row, DType dtype) const {
  const Tensor& codes = w_.codes;
  if (!w_.is_plain() || !w_.column_order.empty() || codes.dtype() != dtype || codes.stride(1) != 1)
    return nullptr;
  return codes.raw() + bytes_of(dtype, row * codes.stride(0));
}

void RowDecoder::read_codes(int64_t row, float* out) const {
  const Tensor& codes = w_.codes;
  const int64_t first = row * codes.stride(0), stride = codes.stride(1), n = w_.cols();
  if (w_.coding == Coding::plain) {
    std::ranges::copy(to_f32(codes.slice(0, row, row + 1).contiguous()).span<float>(), out);
  } else if (w_.coding == Coding::table) {
    for (int64_t c = 0; c < n; ++c) out[c] = w_.table[codes.data<uint8_t>()[first + c * stride]];
  } else if (codes.dtype() == DType::i8) {
    widen(codes.data<int8_t>() + first, stride, n, out);
  } else {
    widen(codes.data<uint8_t>() + first, stride, n, out);
  }
}

// Within one block of columns scale, zero and minimum are constants.
void RowDecoder::apply_blocks(int64_t row, float* values) const {
  const int64_t n = w_.cols(), block = block_or_all(w_.block_cols, n),
                super = block_or_all(w_.super_cols, n);
  const int64_t r = row / block_or_all(w_.block_rows, w_.rows());
  for (int64_t c = 0, end; c < n; c = end) {
    end = std::min({n, (c / block + 1) * block, (c / super + 1) * super});
    const float scale =
        scales_.defined() ? at(scales_, super_scales_, r, c / block, c / super) : 1.0f;
    if (w_.offset == Offset::zero_point) {
      const float zero = zeros_.defined() ? at(zeros_, {}, r, c / block, 0) : 0.0f;
      for (int64_t i = c; i < end; ++i) values[i] = scale * (values[i] - zero);
    } else if (w_.offset == Offset::minimum) {
      const float minimum =
          minimums_.defined() ? at(minimums_, super_minimums_, r, c / block, c / super) : 0.0f;
      for (int64_t i = c; i < end; ++i) values[i] = scale * values[i] + minimum;
    } else {
      for (int64_t i = c; i < end; ++i) values[i] = scale * values[i];
    }
  }
}

void RowDecoder::decode(int64_t row, float* out) const {
  if (w_.column_order.empty()) {
    read_codes(row, out);
    if (!w_.is_plain()) apply_blocks(row, out);
    return;
  }
  std::vector<float> stored(static_cast<size_t>(w_.cols()));
  read_codes(row, stored.data());
  if (!w_.is_plain()) apply_blocks(row, stored.data());
  for (size_t c = 0; c < stored.size(); ++c) out[w_.column_order[c]] = stored[c];
}

}  // namespace quern::ops
