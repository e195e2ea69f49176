// SPDX-License-Identifier: Apache-2.0
#include "tensor/quant_matrix.h"

#include "base/error.h"

namespace quern {
namespace {

int64_t blocks(int64_t length, int64_t block) {
  return block <= 0 ? 1 : (length + block - 1) / block;
}

// A grid of per-block values as float32, with its second level already multiplied in.
class Grid {
 public:
  Grid(const Tensor& first, const Tensor& second, const QuantMatrix& w, float absent)
      : absent_(absent) {
    if (!first.defined()) return;
    values_ = to_f32(first);
    block_rows_ = w.block_rows <= 0 ? std::max<int64_t>(w.rows(), 1) : w.block_rows;
    block_cols_ = w.block_cols <= 0 ? std::max<int64_t>(w.cols(), 1) : w.block_cols;
    if (!second.defined()) return;
    super_ = to_f32(second);
    super_cols_ = w.super_cols <= 0 ? std::max<int64_t>(w.cols(), 1) : w.super_cols;
  }

  float at(int64_t n, int64_t k) const {
    if (!values_.defined()) return absent_;
    const int64_t row = n / block_rows_;
    const float value = values_.data<float>()[row * values_.dim(1) + k / block_cols_];
    return super_.defined() ? super_.data<float>()[row * super_.dim(1) + k / super_cols_] * value
                            : value;
  }

 private:
  Tensor values_, super_;
  int64_t block_rows_ = 1, block_cols_ = 1, super_cols_ = 1;
  float absent_;
};

void expect_grid(const Tensor& t, const QuantMatrix& w, int64_t block_cols, const char* what) {
  if (!t.defined()) return;
  const Shape expected{blocks(w.rows(), w.block_rows), blocks(w.cols(), block_cols)};
  if (t.shape() != expected)
    fail(ErrorCode::internal,
         "{} of a [{}, {}] weight: expected {}, got {}",
         what,
         w.rows(),
         w.cols(),
         expected.text(),
         t.shape().text());
}

float code_value(const QuantMatrix& w, const Tensor& codes, int64_t index) {
  if (w.coding == Coding::table) return w.table[codes.data<uint8_t>()[index]];
  return codes.dtype() == DType::i8 ? static_cast<float>(codes.data<int8_t>()[index])
                                    : static_cast<float>(codes.data<uint8_t>()[index]);
}

// One decoded value: the header's formula, with the absent parts left out so that nothing rounds
// needlessly.
struct Decoder {
  const QuantMatrix& w;
  Grid scales{w.scales, w.super_scales, w, 1.0f};
  Grid zeros{w.zeros, {}, w, 0.0f};
  Grid minimums{w.minimums, w.super_minimums, w, 0.0f};

  float operator()(int64_t n, int64_t c, float value) const {
    switch (w.offset) {
      case Offset::none:
        return scales.at(n, c) * value;
      case Offset::zero_point:
        return scales.at(n, c) * (value - zeros.at(n, c));
      case Offset::minimum:
        return scales.at(n, c) * value + minimums.at(n, c);
    }
    return 0;
  }
};

}  // namespace

void validate(const QuantMatrix& w) {
  if (w.codes.rank() != 2)
    fail(ErrorCode::internal, "a weight of shape {}: expected [N, K]", w.codes.shape().text());
  expect_grid(w.scales, w, w.block_cols, "scales");
  expect_grid(w.zeros, w, w.block_cols, "zeros");
  expect_grid(w.minimums, w, w.block_cols, "minimums");
  expect_grid(w.super_scales, w, w.super_cols, "super scales");
  expect_grid(w.super_minimums, w, w.super_cols, "super minimums");
  const bool byte_codes = w.codes.dtype() == DType::u8 || w.codes.dtype() == DType::i8;
  if (w.coding != Coding::plain && !byte_codes)
    fail(ErrorCode::internal, "codes of type {}", name_of(w.codes.dtype()));
  if (w.coding == Coding::table && w.table.size() < (size_t{1} << w.code_bits))
    fail(ErrorCode::internal,
         "a table of {} values for codes of {} bits",
         w.table.size(),
         w.code_bits);
  if (w.column_order.empty()) return;
  std::vector<bool> seen(static_cast<size_t>(w.cols()));
  for (const int32_t k : w.column_order) {
    if (k < 0 || k >= w.cols() || seen[static_cast<size_t>(k)])
      fail(ErrorCode::internal, "column order is no permutation");
    seen[static_cast<size_t>(k)] = true;
  }
  if (static_cast<int64_t>(w.column_order.size()) != w.cols())
    fail(ErrorCode::internal, "column order is too short");
}

Tensor dequantize_rows(const QuantMatrix& w, int64_t begin, int64_t end) {
  const int64_t cols = w.cols();
  if (w.codes.device().is_meta())
    return Tensor::empty({end - begin, cols}, DType::f32, Device::meta());
  validate(w);
  const Tensor codes = w.codes.slice(0, begin, end).contiguous();
  const Tensor plain = w.coding == Coding::plain ? to_f32(codes) : Tensor();
  if (w.is_plain() && w.column_order.empty()) return plain;
  Tensor out = Tensor::empty({end - begin, cols}, DType::f32);
  const Decoder decode{w};
  for (int64_t n = begin; n < end; ++n) {
    float* row = out.data<float>() + (n - begin) * cols;
    for (int64_t c = 0; c < cols; ++c) {
      const int64_t index = (n - begin) * cols + c;
      const float value =
          plain.defined() ? plain.data<float>()[index] : code_value(w, codes, index);
      const int64_t k = w.column_order.empty() ? c : w.column_order[static_cast<size_t>(c)];
      row[k] = decode(n, c, value);
    }
  }
  return out;
}

Tensor dequantize(const QuantMatrix& w) {
  return dequantize_rows(w, 0, w.rows());
}

}  // namespace quern
