// SPDX-License-Identifier: Apache-2.0
#include "tensor/tensor.h"

#include <algorithm>
#include <cstring>

#include "base/half.h"
#include "tensor/storage.h"

namespace quern {
namespace {

Shape contiguous_strides(const Shape& shape) {
  Shape strides = shape;
  int64_t step = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    strides.set(axis, step);
    step *= shape[axis];
  }
  return strides;
}

}  // namespace

Tensor Tensor::over(std::shared_ptr<Storage> storage,
                    int64_t offset,
                    const Shape& shape,
                    DType dtype) {
  QUERN_CHECK(storage != nullptr && offset >= 0 &&
              offset + bytes_of(dtype, shape.numel()) <= storage->bytes);
  Tensor t;
  t.storage_ = std::move(storage);
  t.byte_offset_ = offset;
  t.dtype_ = dtype;
  t.shape_ = shape;
  t.strides_ = contiguous_strides(shape);
  return t;
}

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  return over(allocate_storage(bytes_of(dtype, shape.numel()), device), 0, shape, dtype);
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  if (t.raw() != nullptr) std::memset(t.raw(), 0, static_cast<size_t>(t.bytes()));
  return t;
}

Tensor Tensor::borrow(const void* data, const Shape& shape, DType dtype) {
  auto* bytes = static_cast<std::byte*>(const_cast<void*>(data));
  return over(
      std::make_shared<Storage>(Storage{bytes, bytes_of(dtype, shape.numel()), Device::cpu()}),
      0,
      shape,
      dtype);
}

Tensor Tensor::from(std::span<const float> values, const Shape& shape) {
  QUERN_CHECK(static_cast<int64_t>(values.size()) == shape.numel());
  Tensor t = empty(shape, DType::f32);
  std::ranges::copy(values, t.data<float>());
  return t;
}

bool Tensor::is_contiguous() const {
  int64_t step = 1;
  for (int axis = rank() - 1; axis >= 0; --axis) {
    if (dim(axis) != 1 && stride(axis) != step) return false;
    step *= dim(axis);
  }
  return true;
}

Tensor Tensor::slice(int axis, int64_t begin, int64_t end) const {
  if (axis < 0) axis += rank();
  QUERN_CHECK(axis >= 0 && axis < rank() && 0 <= begin && begin <= end && end <= dim(axis),
              "slice [{}, {}) of axis {} of {}",
              begin,
              end,
              axis,
              shape_.text());
  Tensor t = *this;
  t.byte_offset_ += bytes_of(dtype_, begin * stride(axis));
  t.shape_.set(axis, end - begin);
  return t;
}

Tensor Tensor::select(int axis, int64_t index) const {
  if (axis < 0) axis += rank();
  Tensor t = slice(axis, index, index + 1);
  std::vector<int64_t> dims, strides;
  for (int i = 0; i < rank(); ++i) {
    if (i == axis) continue;
    dims.push_back(dim(i));
    strides.push_back(stride(i));
  }
  t.shape_ = Shape(dims);
  t.strides_ = Shape(strides);
  return t;
}

Tensor Tensor::reshape(const Shape& shape) const {
  QUERN_CHECK(
      is_contiguous() && shape.numel() == numel(), "reshape {} to {}", shape_.text(), shape.text());
  Tensor t = *this;
  t.shape_ = shape;
  t.strides_ = contiguous_strides(shape);
  return t;
}

Tensor Tensor::windows(int64_t rows, int64_t size, int64_t step) const {
  QUERN_CHECK(is_contiguous() && rows >= 0 && size >= 0 && step >= 0 &&
                  (rows == 0 || (rows - 1) * step + size <= numel()),
              "{} windows of {}, {} apart, over {}",
              rows,
              size,
              step,
              shape_.text());
  Tensor t = *this;
  t.shape_ = {rows, size};
  t.strides_ = {step, 1};
  return t;
}

Tensor Tensor::contiguous() const {
  if (is_contiguous()) return *this;
  Tensor out = empty(shape_, dtype_, device());
  if (out.raw() == nullptr) return out;
  const int64_t item = bits_of(dtype_) / 8;
  QUERN_CHECK(item > 0);
  const int64_t row = dim(-1);
  const int64_t rows = row == 0 ? 0 : numel() / row;
  for (int64_t r = 0; r < rows; ++r) {
    int64_t offset = 0, rest = r;
    for (int axis = rank() - 2; axis >= 0; --axis) {
      offset += rest % dim(axis) * stride(axis);
      rest /= dim(axis);
    }
    for (int64_t c = 0; c < row; ++c)
      std::memcpy(out.raw() + (r * row + c) * item,
                  raw() + (offset + c * stride(-1)) * item,
                  static_cast<size_t>(item));
  }
  return out;
}

namespace {

template <typename T, typename F>
Tensor convert(const Tensor& t, F to_float) {
  Tensor out = Tensor::empty(t.shape(), DType::f32);
  std::ranges::transform(t.span<T>(), out.data<float>(), to_float);
  return out;
}

}  // namespace

Tensor to_f32(const Tensor& t) {
  if (t.device().is_meta()) return Tensor::empty(t.shape(), DType::f32, Device::meta());
  const auto cast = [](auto v) { return static_cast<float>(v); };
  switch (t.dtype()) {
    case DType::f32:
      return t.contiguous();
    case DType::f64:
      return convert<double>(t, cast);
    case DType::f16:
      return convert<uint16_t>(t, f16_to_float);
    case DType::bf16:
      return convert<uint16_t>(t, bf16_to_float);
    case DType::f8_e4m3:
      return convert<uint8_t>(t, e4m3_to_float);
    case DType::f8_e5m2:
      return convert<uint8_t>(
          t, [](uint8_t v) { return f16_to_float(static_cast<uint16_t>(v << 8)); });
    case DType::i64:
      return convert<int64_t>(t, cast);
    case DType::i32:
      return convert<int32_t>(t, cast);
    case DType::i16:
      return convert<int16_t>(t, cast);
    case DType::i8:
      return convert<int8_t>(t, cast);
    case DType::u8:
    case DType::boolean:
      return convert<uint8_t>(t, cast);
    case DType::i4:
    case DType::u4:
      break;
  }
  fail(ErrorCode::unsupported, "to_f32 of {} elements", name_of(t.dtype()));
}

}  // namespace quern
